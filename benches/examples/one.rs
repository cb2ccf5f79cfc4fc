//! Sends requests through one layer over the bare service, for a profiler:
//!
//! `cargo run --release -p benches --example one -- tower-metrics 10000000`
//!
//! Or runs itself under callgrind, where valgrind is present, and says how many
//! instructions each layer adds to a request:
//!
//! `cargo run --release -p benches --example one`

use std::error::Error;
use std::process::{Command, Stdio};

use harness::contenders::{Contenders, FLOOR, OURS};
use harness::table;

/// Enough for what happens once in a while to even out.
const REQUESTS: u64 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => instructions(),
        [name, requests] => {
            let requests = requests.parse()?;
            let mut contenders = Contenders::named(name);
            let contender = contenders.bare.first_mut().ok_or("no layer of this name")?;
            contender.send(requests);
            Ok(())
        }
        _ => Err("usage: one [NAME REQUESTS]".into()),
    }
}

fn instructions() -> Result<(), Box<dyn Error>> {
    let contenders = Contenders::all().bare;
    let names = contenders.iter().map(|contender| contender.name);
    let counted = names
        .map(|name| Ok((name, each(name)?)))
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
    let header = ["", "instructions", "added", "/floor", "/ours"];
    table::print(
        "Instructions a request, a bare tower service",
        &header,
        &rows,
    );
    Ok(())
}

/// The instructions of one request: what twice as many take more, by request.
fn each(name: &str) -> Result<f64, Box<dyn Error>> {
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
    let count = collected.ok_or_else(|| format!("valgrind says no count:\n{text}"))?;
    Ok(count.trim().parse()?)
}
