//! Counts the instructions that each layer adds to a request, with callgrind, and says
//! where those of tower-metrics are:
//!
//! `cargo run --profile bench -p benches --example instructions`
//!
//! With arguments, it sends requests through one layer, for a profiler. The service is
//! `bare` or `router`:
//!
//! `cargo run --profile bench -p benches --example instructions -- bare tower-metrics 10000000`

mod part;
mod profile;

use std::collections::BTreeMap;
use std::error::Error;

use harness::callgrind;
use harness::candidates::{Candidates, FLOOR, OURS};
use harness::comparison::Candidate;
use harness::table;

use self::part::{PARTS, part};
use self::profile::Profile;

/// Enough to amortize work that is not done for every request.
const REQUESTS: u64 = 2000;

/// Functions that are listed for each setting.
const FUNCTIONS: usize = 12;

/// Settings of tower-metrics whose instructions are attributed to parts.
const SETTINGS: [&str; 3] = [OURS, "  with exemplars", "  with a custom label"];

/// Services, with their titles.
const SERVICES: [(&str, &str); 2] = [
    ("bare", "bare tower service"),
    ("router", "axum router with 20 routes"),
];

/// Profile of the instructions that a setting adds to a request.
struct Added {
    service: &'static str,
    setting: &'static str,
    profile: Profile,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => instructions(),
        [service, name, requests] => {
            let requests = requests.parse()?;
            let mut candidates = candidates(Candidates::named(name), service)?;
            let candidate = candidates.first_mut().ok_or("no layer has this name")?;
            candidate.send(requests);
            Ok(())
        }
        _ => Err("usage: instructions [bare|router NAME REQUESTS]".into()),
    }
}

fn candidates(all: Candidates, service: &str) -> Result<Vec<Candidate>, Box<dyn Error>> {
    match service {
        "bare" => Ok(all.bare),
        "router" => Ok(all.routed),
        _ => Err(format!("{service}: the service is `bare` or `router`").into()),
    }
}

fn instructions() -> Result<(), Box<dyn Error>> {
    let mut settings = Vec::new();
    for (service, title) in SERVICES {
        let names: Vec<_> = candidates(Candidates::all(), service)?
            .iter()
            .map(|candidate| candidate.name)
            .collect();
        let mut counted = Vec::new();
        for name in names {
            counted.push((name, per_request(service, name)?));
        }
        print_layers(title, &counted);
        let (_, base) = counted.remove(0);
        for (setting, mut profile) in counted {
            if SETTINGS.contains(&setting) {
                profile.subtract(&base);
                settings.push(Added {
                    service,
                    setting,
                    profile,
                });
            }
        }
    }
    print_parts(&settings);
    for added in &settings {
        print_functions(added);
    }
    Ok(())
}

fn print_layers(title: &str, counted: &[(&'static str, Profile)]) {
    let totals: Vec<_> = counted
        .iter()
        .map(|(name, profile)| (*name, profile.total()))
        .collect();
    let base = totals[0].1;
    let added = |of: &str| {
        let one = totals.iter().find(|(name, _)| *name == of);
        one.map_or(f64::NAN, |(_, count)| count - base)
    };
    let rows: Vec<_> = totals
        .iter()
        .map(|(name, count)| {
            let ours = count - base;
            vec![
                (*name).to_owned(),
                format!("{count:.0}"),
                format!("{ours:.0}"),
                format!("{:.2}", ours / added(FLOOR)),
                format!("{:.2}", ours / added(OURS)),
            ]
        })
        .collect();
    let header = ["", "instructions", "added", "/floor", "/tower-metrics"];
    table::print(
        &format!("Instructions per request, {title}"),
        &header,
        &rows,
    );
}

fn print_parts(settings: &[Added]) {
    let names: Vec<_> = settings
        .iter()
        .map(|added| match added.setting {
            OURS => added.service.to_owned(),
            setting => format!("{}{}", added.service, setting.trim_start_matches("  with")),
        })
        .collect();
    let header = [""].into_iter().chain(names.iter().map(String::as_str));
    let rows: Vec<_> = PARTS
        .iter()
        .map(|row| {
            let in_part = |added: &Added| {
                let sites = added.profile.0.iter();
                let sites = sites.filter(|(site, _)| part(site) == *row);
                format!("{:.0}", sites.map(|(_, cost)| cost).sum::<f64>())
            };
            let cells = settings.iter().map(in_part);
            [(*row).to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    let title = "Instructions that tower-metrics adds to a request, by part";
    table::print(title, &header.collect::<Vec<_>>(), &rows);
}

/// Prints the functions that run most of the added instructions, including what is
/// inlined into them.
fn print_functions(added: &Added) {
    let mut functions = BTreeMap::<&str, f64>::new();
    for (site, cost) in &added.profile.0 {
        *functions.entry(&site.function).or_default() += cost;
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let rows: Vec<_> = functions
        .iter()
        .take(FUNCTIONS)
        .map(|(name, cost)| vec![name.chars().take(100).collect(), format!("{cost:.0}")])
        .collect();
    let title = format!("{}, {}, by function", added.service, added.setting.trim());
    table::print(&title, &["", "added"], &rows);
}

/// Returns the instructions of one request, from the difference between two runs.
fn per_request(service: &str, name: &str) -> Result<Profile, Box<dyn Error>> {
    let once = run(service, name, REQUESTS)?;
    let twice = run(service, name, 2 * REQUESTS)?;
    Ok(twice.per_request(&once, REQUESTS))
}

fn run(service: &str, name: &str, requests: u64) -> Result<Profile, Box<dyn Error>> {
    let arguments = [service, name.trim(), &requests.to_string()];
    Ok(Profile::parse(&callgrind::profile(&arguments)?))
}
