//! Traffic of the demo: a Poisson process whose rate varies in waves and bursts.

use std::f64::consts::TAU;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ticket_core::policy::Playback;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::task;
use crate::traffic::{Action, Traffic};

/// Maximum number of concurrent requests. Further arrivals are dropped, as impatient users do not
/// queue in front of a slow site.
const MAX_IN_FLIGHT: usize = 512;
/// Time limit for a response. The server's own limit is expected to be shorter.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which the list of concerts is read.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);

/// Sends requests to the server at `api` until `stopping` is cancelled.
///
/// The requests are sent by a separate thread with its own runtime, so that the server's runtime
/// metrics do not include the client.
///
/// # Errors
///
/// Returns an error if the thread or the runtime cannot be started.
pub(super) fn spawn(
    api: SocketAddr,
    rate: f64,
    playback: Playback,
    stopping: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = format!("http://{}", reachable(api));
    let url = url.parse().expect("a socket address is a valid authority");
    thread::Builder::new()
        .name("traffic".into())
        .spawn(move || {
            runtime.block_on(async move {
                let traffic = Arc::new(Traffic::new(url, TIMEOUT));
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = send(traffic.clone(), rate, &playback) => {}
                    () = discover(&traffic) => {}
                }
            });
        })
}

/// Returns the address at which a server that listens on `address` is reachable from its own
/// machine.
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
        // Retry soon if the server has just started or injects faults into this operation.
        let wait = match traffic.discover().await {
            Ok(discovery) if discovery.concerts > 0 => DISCOVERY_INTERVAL,
            _ => Duration::from_secs(1),
        };
        sleep(wait).await;
    }
}

async fn send(traffic: Arc<Traffic>, rate: f64, playback: &Playback) {
    let mut random = StdRng::from_rng(&mut rand::rng());
    let permits = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let start = Instant::now();
    let mut next = start;
    loop {
        let seconds = start.elapsed().as_secs_f64();
        let rate = rate
            * match playback.traffic() {
                Some(factor) => factor * (1.0 + ripples(seconds)),
                None => wave(seconds),
            };
        // Exponentially distributed gaps make a Poisson process: users arrive independently.
        let gap = -(1.0 - random.random::<f64>()).ln() / rate;
        next = (next + Duration::from_secs_f64(gap)).max(Instant::now());
        sleep_until(next).await;
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            continue;
        };
        let (traffic, mut random) = (traffic.clone(), StdRng::from_rng(&mut random));
        task::spawn(async move {
            let action = Action::pick(&mut random, true);
            traffic.perform(action, &mut random).await;
            drop(permit);
        });
    }
}

/// Returns the factor of the rate after `seconds`, about 1 on average: waves of 5 minutes with
/// ripples, and a burst of 20 seconds every 4 minutes.
fn wave(seconds: f64) -> f64 {
    let tide = 0.45 * (TAU * seconds / 300.0).sin();
    let burst = if (150.0..170.0).contains(&(seconds % 240.0)) {
        1.5
    } else {
        0.0
    };
    0.9 + tide + ripples(seconds) + burst
}

/// Returns small variations, 0 on average. They are all that varies during a step of a scenario.
fn ripples(seconds: f64) -> f64 {
    0.15 * (TAU * seconds / 37.0).sin() + 0.05 * (TAU * seconds / 11.0).sin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_varies_around_its_average_and_never_drops_to_zero() {
        let seconds = 3_600 * 4;
        let waves: Vec<_> = (0..seconds).map(|second| wave(f64::from(second))).collect();
        let mean = waves.iter().sum::<f64>() / f64::from(seconds);
        assert!((0.95..1.1).contains(&mean), "{mean}");
        assert!(waves.iter().all(|wave| *wave > 0.2));
        assert!(waves.iter().any(|wave| *wave > 2.0));
    }

    #[test]
    fn a_server_on_all_addresses_is_reachable_on_loopback() {
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
