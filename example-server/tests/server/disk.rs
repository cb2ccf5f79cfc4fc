//! Order of system calls: a purchase is on disk before its response is sent.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::Command;

use crate::process::{Server, order, sqlite, until};

const PURCHASES: usize = 5;

/// Relevant system call of a traced process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// A purchase request was received.
    Received,
    /// The write-ahead log was written.
    Written,
    /// The write-ahead log was synced.
    Synced,
    /// Sending a 201 response began.
    Responded,
}

#[tokio::test]
async fn a_purchase_is_on_disk_before_its_response_is_sent() {
    // Containers may forbid ptrace.
    let traces = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "strace cannot trace processes");
        eprintln!("SKIPPED: strace cannot trace processes");
        return;
    }
    for commit in ["each", "group"] {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let mut server = Server::traced(&trace, &sqlite(folder.path()), &["--commit", commit]);
        let concert = server.concert(100).await;
        let path = format!("/concerts/{concert}/purchases");
        for _ in 0..PURCHASES {
            let response = server.post(&path, &order("Ada", 1)).await;
            assert_eq!(response.status, 201);
        }
        server.kill();
        let mut traced = String::new();
        until("the trace is complete", async || {
            traced = fs::read_to_string(&trace).unwrap();
            traced.ends_with("+++ killed by SIGKILL +++\n")
        })
        .await;

        let events = events(&traced);
        let received: Vec<_> = (0..events.len())
            .filter(|at| events[*at] == Event::Received)
            .collect();
        assert_eq!(received.len(), PURCHASES, "{commit}: {events:?}");
        for at in received {
            let events = &events[at..];
            let responded = events.iter().position(|event| *event == Event::Responded);
            let events = &events[..responded.unwrap()];
            let written = events.iter().rposition(|event| *event == Event::Written);
            let synced = events.iter().rposition(|event| *event == Event::Synced);
            assert!(
                written.is_some() && synced > written,
                "{commit}: written, synced, and then responded: {events:?}"
            );
        }
    }
}

/// Parses the output of `strace -f -y`, which has two lines for a call that another thread
/// interrupted.
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
            "recvfrom" if ends && call.contains("/purchases HTTP/1.1") => Some(Event::Received),
            "pwrite64" if ends && log => Some(Event::Written),
            // Counts once the call has returned.
            "fdatasync" | "fsync" if ends && log && call.ends_with("= 0") => Some(Event::Synced),
            // Counts once the call begins.
            "writev" | "sendto" if !resumed && call.contains("HTTP/1.1 201") => {
                Some(Event::Responded)
            }
            _ => None,
        });
    }
    events
}
