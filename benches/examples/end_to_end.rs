//! Measures the share of each layer in the cost of a real request: an axum server under wrk.
//!
//! `cargo run --release -p benches --example end_to_end [ROUNDS]`
//!
//! Each layer has a server process on core 0, and wrk runs on core 1 with 16 connections. A
//! round sends requests to each server for a second, in turns. The CPU time is that of the
//! server in user and kernel mode, so that it is comparable on a machine that does other work
//! as well. `added` is the median of the differences to no layer in the same round, and
//! `share` its ratio to a request without a layer. What a no-op layer adds is the noise.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use harness::candidates::{Candidates, OURS};
use harness::comparison::median;
use harness::table;

/// Layers to compare. The first one is the base.
const LAYERS: [&str; 9] = [
    "no layer",
    "no-op layer, body wrapped",
    OURS,
    "hand-written vectors",
    "tower-otel 0.12",
    "axum-otel-metrics 0.14",
    "axum-prometheus 0.10",
    "prometheus-axum-middleware 0.4",
    "otel-instrumentation-tower 0.19",
];

const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => compare(ROUNDS),
        [command, name] if command == "serve" => serve(name),
        [rounds] => compare(rounds.parse()?),
        _ => Err("usage: end_to_end [ROUNDS]".into()),
    }
}

/// Serves the router with a layer on one thread, and prints the address.
#[tokio::main(flavor = "current_thread")]
async fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let mut candidates = Candidates::named(name).routed;
    let candidate = candidates.pop().ok_or("no layer has this name")?;
    let router = candidate.router.ok_or("the layer has no router")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

fn compare(rounds: usize) -> Result<(), Box<dyn Error>> {
    for (program, argument) in [("wrk", "-v"), ("taskset", "--version")] {
        // wrk exits with an error after it has printed its version.
        if Command::new(program).arg(argument).output().is_err() {
            println!("skipped: {program} is not installed");
            return Ok(());
        }
    }
    let servers: Vec<_> = LAYERS
        .iter()
        .map(|name| Server::start(name))
        .collect::<Result<_, _>>()?;
    for server in &servers {
        server.measure()?;
    }
    let mut measured = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        for turn in 0..servers.len() {
            let at = (turn + round) % servers.len();
            measured[at].push(servers[at].measure()?);
        }
    }
    let base = &measured[0];
    let base_cpu = median(base.iter().map(|one| one.cpu).collect());
    let rows: Vec<_> = LAYERS
        .iter()
        .zip(&measured)
        .map(|(name, each)| {
            let pairs = each.iter().zip(base);
            let added = pairs.map(|(ours, base)| ours.cpu - base.cpu).collect();
            let cpu = median(each.iter().map(|one| one.cpu).collect());
            let added = median(added);
            vec![
                (*name).to_owned(),
                format!("{:.0}", median(each.iter().map(|one| one.rate).collect())),
                format!("{cpu:.0}"),
                format!("{added:.0}"),
                format!("{:.1}", 100.0 * added / base_cpu),
            ]
        })
        .collect();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let title = format!(
        "axum server on core 0 under wrk on core 1, medians of {rounds} rounds in turns, \
         load {}",
        load.split(' ').next().unwrap_or("unknown")
    );
    let header = ["", "requests/s", "CPU ns each", "added", "share in %"];
    table::print(&title, &header, &rows);
    Ok(())
}

/// Server process, which is killed on drop.
struct Server {
    child: Child,
    address: String,
}

/// Requests of one round.
#[derive(Clone, Copy)]
struct Measured {
    /// Per second.
    rate: f64,
    /// CPU time of the server in nanoseconds per request.
    cpu: f64,
}

impl Server {
    fn start(name: &str) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(std::env::current_exe()?)
            .args(["serve", name])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let mut server = Self {
            child,
            address: String::new(),
        };
        BufReader::new(stdout).read_line(&mut server.address)?;
        Ok(server)
    }

    fn measure(&self) -> Result<Measured, Box<dyn Error>> {
        let before = self.cpu_time()?;
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", "-c16", "-d1s"])
            .arg(format!("{}/concerts/7", self.address.trim()))
            .output()?;
        let spent = self.cpu_time()? - before;
        let text = String::from_utf8(output.stdout)?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("not all requests succeeded:\n{text}").into());
        }
        let number = |start: &str, end: &str| {
            let mut lines = text.lines().map(str::trim);
            let number = lines.find_map(|line| line.strip_prefix(start)?.split(end).next());
            number.and_then(|number| number.trim().parse::<f64>().ok())
        };
        let unreadable = || format!("wrk printed no numbers:\n{text}");
        let rate = number("Requests/sec:", " requests").ok_or_else(unreadable)?;
        let total = text
            .lines()
            .find_map(|line| line.split_once(" requests in "))
            .and_then(|(number, _)| number.trim().parse::<f64>().ok());
        Ok(Measured {
            rate,
            cpu: spent / total.ok_or_else(unreadable)?,
        })
    }

    /// Returns the CPU time of all threads in nanoseconds.
    fn cpu_time(&self) -> Result<f64, Box<dyn Error>> {
        let mut total = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let statistics = fs::read_to_string(task?.path().join("schedstat"))?;
            let running = statistics.split(' ').next().unwrap_or_default();
            total += running.parse::<f64>()?;
        }
        Ok(total)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It runs until it is killed. The error is that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
