//! The demo's traffic: real HTTP connections to the server, in waves and bursts.

use std::f64::consts::TAU;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::traffic::{Action, Traffic};

/// Requests under way at once. Further visitors turn away, as people do from a site that hangs.
const PATIENT: usize = 512;
/// Time limit for a response, beyond the server's own.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often visitors see what is new.
const DISCOVER: Duration = Duration::from_secs(30);

/// Sends traffic to the server at `api` until `stopping`, on a thread and a runtime of its own,
/// so that its work is not taken for the server's.
///
/// # Errors
/// When the thread or the runtime cannot be started.
pub(super) fn come(
    api: SocketAddr,
    rate: f64,
    stopping: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = format!("http://{}", reachable(api));
    let url = url
        .parse()
        .expect("a socket's address is a valid authority");
    thread::Builder::new()
        .name("visitors".into())
        .spawn(move || {
            runtime.block_on(async move {
                let traffic = Arc::new(Traffic::new(url, TIMEOUT));
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = arrive(traffic.clone(), rate) => {}
                    () = discover(&traffic) => {}
                }
            });
        })
}

/// Where a server that listens on `address` can be reached from its own machine.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

async fn discover(traffic: &Traffic) {
    loop {
        // A server that has just started, or that injects faults here: later, then.
        let wait = match traffic.discover().await {
            Ok(discovered) if discovered.concerts > 0 => DISCOVER,
            _ => Duration::from_secs(1),
        };
        sleep(wait).await;
    }
}

async fn arrive(traffic: Arc<Traffic>, rate: f64) {
    let mut random = StdRng::from_rng(&mut rand::rng());
    let places = Arc::new(Semaphore::new(PATIENT));
    let start = Instant::now();
    let mut next = start;
    loop {
        let now = rate * wave(start.elapsed().as_secs_f64());
        // Visitors know nothing of each other: exponential gaps.
        let gap = -(1.0 - random.random::<f64>()).ln() / now;
        next = (next + Duration::from_secs_f64(gap)).max(Instant::now());
        sleep_until(next).await;
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let (traffic, mut random) = (traffic.clone(), StdRng::from_rng(&mut random));
        tokio::spawn(async move {
            let action = Action::pick(&mut random, true);
            traffic.perform(action, &mut random).await;
            drop(place);
        });
    }
}

/// How busy it is after so many seconds, around 1: a tide of five minutes, ripples on it, and
/// every four minutes twenty seconds of rush.
fn wave(seconds: f64) -> f64 {
    let tide = 0.45 * (TAU * seconds / 300.0).sin();
    let ripples = 0.15 * (TAU * seconds / 37.0).sin() + 0.05 * (TAU * seconds / 11.0).sin();
    let rush = if (150.0..170.0).contains(&(seconds % 240.0)) {
        1.5
    } else {
        0.0
    };
    0.9 + tide + ripples + rush
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traffic_swings_around_the_rate_and_never_stops() {
        let seconds = 3_600 * 4;
        let waves: Vec<_> = (0..seconds).map(|second| wave(f64::from(second))).collect();
        let mean = waves.iter().sum::<f64>() / f64::from(seconds);
        assert!((0.95..1.1).contains(&mean), "{mean}");
        assert!(waves.iter().all(|wave| *wave > 0.2));
        assert!(waves.iter().any(|wave| *wave > 2.0));
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(
                reachable(address.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
    }
}
