//! Counts the instructions that each layer adds to a request, with callgrind:
//!
//! `cargo run --release -p benches --example instructions`
//!
//! With arguments, it sends requests through one layer, for a profiler:
//!
//! `cargo run --release -p benches --example instructions -- tower-metrics 10000000`

use std::error::Error;
use std::process::{Command, Stdio};

use harness::candidates::{Candidates, FLOOR, OURS};
use harness::table;

/// Enough to amortize work that is not done for every request.
const REQUESTS: u64 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => instructions(),
        [name, requests] => {
            let requests = requests.parse()?;
            let mut candidates = Candidates::named(name);
            let candidate = candidates
                .bare
                .first_mut()
                .ok_or("no layer has this name")?;
            candidate.send(requests);
            Ok(())
        }
        _ => Err("usage: instructions [NAME REQUESTS]".into()),
    }
}

fn instructions() -> Result<(), Box<dyn Error>> {
    let candidates = Candidates::all().bare;
    let names = candidates.iter().map(|candidate| candidate.name);
    let counted = names
        .map(|name| Ok((name, per_request(name)?)))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let base = counted[0].1;
    let added = |of: &str| {
        let one = counted.iter().find(|(name, _)| *name == of);
        one.map_or(f64::NAN, |(_, count)| count - base)
    };
    let rows: Vec<_> = counted
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
        "Instructions per request, bare tower service",
        &header,
        &rows,
    );
    Ok(())
}

/// Returns the instructions of one request, from the difference between two runs.
fn per_request(name: &str) -> Result<f64, Box<dyn Error>> {
    let once = count(name, REQUESTS)?;
    let twice = count(name, 2 * REQUESTS)?;
    Ok((twice as f64 - once as f64) / REQUESTS as f64)
}

fn count(name: &str, requests: u64) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([name.trim(), &requests.to_string()])
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let count = collected
        .ok_or_else(|| format!("no instruction count in the output of valgrind:\n{text}"))?;
    Ok(count.trim().parse()?)
}
