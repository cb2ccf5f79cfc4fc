//! A purchase is on disk before its answer leaves, by what the kernel is asked to do.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::Command;

use crate::process::{Server, order, sqlite, until};

const PURCHASES: usize = 5;

/// What a traced process did, as far as it matters here, in the order in which it did it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A purchase was asked for.
    Asked,
    /// Something was written to SQLite's log.
    Written,
    /// All that was written to the log before is on disk.
    Synced,
    /// A 201 begins to leave.
    Answered,
}

#[tokio::test]
async fn a_purchase_is_on_disk_before_its_answer_leaves() {
    // Not every machine lets a process be traced.
    let traces = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "strace does not run");
        eprintln!("SKIPPED: strace does not run");
        return;
    }
    for commit in ["each", "group"] {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut server = Server::traced(&trace, &sqlite(folder.path()), &["--commit", commit]);
        let concert = server.concert(100).await;
        let path = format!("/concerts/{concert}/purchases");
        for _ in 0..PURCHASES {
            let answer = server.post(&path, &order("Ada", 1)).await;
            assert_eq!(answer.status, 201);
        }
        server.kill();
        let mut traced = String::new();
        until("the trace is whole", async || {
            traced = fs::read_to_string(&trace).unwrap();
            traced.ends_with("+++ killed by SIGKILL +++\n")
        })
        .await;

        let events = events(&traced);
        let asked: Vec<_> = (0..events.len())
            .filter(|at| events[*at] == Event::Asked)
            .collect();
        assert_eq!(asked.len(), PURCHASES, "{commit}: {events:?}");
        for at in asked {
            let events = &events[at..];
            let answered = events.iter().position(|event| *event == Event::Answered);
            let events = &events[..answered.unwrap()];
            let written = events.iter().rposition(|event| *event == Event::Written);
            let synced = events.iter().rposition(|event| *event == Event::Synced);
            assert!(
                written.is_some() && synced > written,
                "{commit}: written, synced, and then answered: {events:?}"
            );
        }
    }
}

/// Reads what `strace -f -y` wrote: a line for each call, and two where another thread came between.
fn events(trace: &str) -> Vec<Event> {
    let mut begun = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let resumed = call.starts_with("<... ");
        let of = match (resumed, call.ends_with("<unfinished ...>")) {
            (true, _) => begun.remove(thread).unwrap_or(call),
            (false, unfinished) => {
                if unfinished {
                    begun.insert(thread, call);
                }
                call
            }
        };
        let ends = !call.ends_with("<unfinished ...>");
        let name = of.split('(').next().unwrap();
        let log = of.contains("tickets.db-wal>");
        events.extend(match name {
            "recvfrom" if ends && call.contains("/purchases HTTP/1.1") => Some(Event::Asked),
            "pwrite64" if ends && log => Some(Event::Written),
            // Only when it has returned.
            "fdatasync" | "fsync" if ends && log && call.ends_with("= 0") => Some(Event::Synced),
            // As soon as it is called.
            "writev" | "sendto" if !resumed && call.contains("HTTP/1.1 201") => {
                Some(Event::Answered)
            }
            _ => None,
        });
    }
    events
}
