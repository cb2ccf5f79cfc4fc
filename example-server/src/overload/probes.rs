//! Latencies of the ops port during the storm.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// Time between the probes of one path.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a probe has failed, as Kubernetes does by default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Latencies of one path of the ops port.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latencies {
    pub(super) path: &'static str,
    pub(super) p50_ms: f64,
    pub(super) max_ms: f64,
    /// Probes without a 200 within a second.
    pub(super) failed: usize,
    pub(super) probes: usize,
}

/// Thread that probes the ops port, each time over a new connection.
pub(super) struct Probes {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<[Vec<Option<Duration>>; 3]>,
}

impl Probes {
    pub(super) fn start(ops: SocketAddr) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = std::thread::Builder::new().name("probes".into());
        let thread = thread.spawn(move || {
            let mut latencies = [const { Vec::new() }; 3];
            while !stop.load(Relaxed) {
                for (path, latencies) in PATHS.iter().zip(&mut latencies) {
                    let start = Instant::now();
                    let is_ok = probe(ops, path).unwrap_or(false);
                    latencies.push(is_ok.then(|| start.elapsed()));
                }
                std::thread::sleep(INTERVAL);
            }
            latencies
        })?;
        Ok(Self { stopping, thread })
    }

    pub(super) fn stop(self) -> Vec<Latencies> {
        self.stopping.store(true, Relaxed);
        let latencies = self.thread.join().unwrap_or_default();
        let summarize = |(path, all): (&'static str, Vec<Option<Duration>>)| {
            let mut ms: Vec<f64> = all
                .iter()
                .flatten()
                .map(|l| l.as_secs_f64() * 1e3)
                .collect();
            ms.sort_by(f64::total_cmp);
            Latencies {
                path,
                p50_ms: ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN),
                max_ms: ms.last().copied().unwrap_or(f64::NAN),
                failed: all.len() - ms.len(),
                probes: all.len(),
            }
        };
        PATHS.into_iter().zip(latencies).map(summarize).collect()
    }
}

/// Returns whether the response is complete and its status is 200.
fn probe(ops: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&ops, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    Ok(response.starts_with(b"HTTP/1.1 200 "))
}
