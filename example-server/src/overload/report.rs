//! Report of the measurement.

use std::fmt;

use serde::Serialize;

use super::probes::Latencies;
use crate::config;

/// Purchases with some number of clients.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Purchases {
    pub(super) clients: u32,
    pub(super) per_s: f64,
    /// Purchases per second of the server's processor time, where it is known. Unlike the other rate,
    /// it is independent of other processes on the machine.
    pub(super) per_cpu_s: Option<f64>,
}

/// Purchases of one round, and how the server fared otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Round {
    /// The most purchases with few clients.
    pub(super) peak: Purchases,
    pub(super) storm: Purchases,
    /// Responses with a status of 503.
    pub(super) refused_per_s: f64,
    pub(super) failed_per_s: f64,
    pub(super) probes: Vec<Latencies>,
    /// The largest resident set so far, where it is known.
    pub(super) rss_mb: Option<f64>,
    /// Time from the end of the storm to the first prompt purchase.
    pub(super) recovery_s: f64,
}

impl Round {
    /// Purchases in the storm as a percentage of the peak, per second and per second of processor
    /// time.
    fn percentages(&self) -> [f64; 2] {
        let percent = |storm, peak| 100.0 * storm / peak;
        let cpu = self.storm.per_cpu_s.zip(self.peak.per_cpu_s);
        [
            percent(self.storm.per_s, self.peak.per_s),
            cpu.map_or(f64::NAN, |(storm, peak)| percent(storm, peak)),
        ]
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    clients: u32,
    seconds: f64,
    /// True if the server and the clients had one processor each.
    pinned: bool,
    pub(super) rounds: Vec<Round>,
}

impl Report {
    pub(super) fn new(options: &config::Overload, pinned: bool) -> Self {
        Self {
            clients: options.clients,
            seconds: options.duration.as_secs_f64(),
            pinned,
            rounds: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = match self.pinned {
            true => ", one core for the server and one for the clients",
            false => "",
        };
        writeln!(
            f,
            "purchases per second with few clients (peak) and with {}, {} s each{cores}\n",
            self.clients, self.seconds
        )?;
        writeln!(
            f,
            "{:>8} {:>8} {:>9} {:>9} {:>10} {:>9} {:>7} {:>9} {:>11}",
            "peak",
            "storm",
            "of peak",
            "by CPU",
            "refused/s",
            "failed/s",
            "RSS MB",
            "probe ms",
            "recovery s",
        )?;
        for round in &self.rounds {
            let slowest = round.probes.iter().map(|probe| probe.max_ms);
            let [wall, cpu] = round.percentages();
            writeln!(
                f,
                "{:>8.0} {:>8.0} {wall:>7.0} % {cpu:>7.0} % {:>10.0} {:>9.0} {:>7.0} {:>9.0} {:>11.2}",
                round.peak.per_s,
                round.storm.per_s,
                round.refused_per_s,
                round.failed_per_s,
                round.rss_mb.unwrap_or(f64::NAN),
                slowest.fold(0.0, f64::max),
                round.recovery_s,
            )?;
        }
        let median = |at: usize| {
            let mut values: Vec<f64> = self.rounds.iter().map(|r| r.percentages()[at]).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        writeln!(
            f,
            "\nmedian: {:.0} % of the peak, {:.0} % by processor time",
            median(0),
            median(1)
        )?;
        writeln!(
            f,
            "\n{:<10} {:>8} {:>8} {:>8} {:>8}",
            "ops port", "p50 ms", "max ms", "probes", "failed"
        )?;
        for probe in self.rounds.iter().flat_map(|round| &round.probes) {
            writeln!(
                f,
                "{:<10} {:>8.1} {:>8.1} {:>8} {:>8}",
                probe.path, probe.p50_ms, probe.max_ms, probe.probes, probe.failed
            )?;
        }
        Ok(())
    }
}
