//! Metrics of the process.

use std::fmt;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use crate::sampled::Family;

/// Collector of the standard metrics of a process, for any [`prometheus::Registry`].
///
/// The names are those of the other client libraries for Prometheus:
///
/// | metric | type | |
/// |---|---|---|
/// | `process_cpu_seconds_total` | counter | user and system CPU time, in steps of usually 10 ms |
/// | `process_open_fds` | gauge | open file descriptors |
/// | `process_max_fds` | gauge | soft limit on file descriptors |
/// | `process_resident_memory_bytes` | gauge | resident memory |
/// | `process_virtual_memory_bytes` | gauge | virtual memory |
/// | `process_virtual_memory_max_bytes` | gauge | soft limit on virtual memory |
/// | `process_threads` | gauge | threads |
/// | `process_start_time_seconds` | gauge | start of the process in Unix time |
///
/// On Linux, the values come from `/proc` at each scrape. A limit that is `unlimited` is
/// 2^64 − 1, as in other client libraries. A metric that the platform does not provide is
/// left out: on other Unix systems, all but `process_open_fds`, and on Windows, all.
///
/// # Cost
///
/// A scrape reads three small files. Before Linux 6.2, it also lists the open file
/// descriptors, which takes about 1 ms for 5,000 of them.
///
/// # Examples
///
/// ```
/// use tower_metrics::prometheus::Format;
/// use tower_metrics::{ProcessCollector, Prometheus};
///
/// let prometheus = Prometheus::new();
/// let process = ProcessCollector::new();
/// prometheus.registry().register(Box::new(process))?;
/// # #[cfg(target_os = "linux")]
/// assert!(prometheus.exposition().render(Format::Text).contains("process_resident_memory_bytes"));
/// # Ok::<_, prometheus::Error>(())
/// ```
pub struct ProcessCollector {
    descs: Vec<Desc>,
    source: Source,
}

const CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
);
const OPEN_FDS: Family = Family::gauge("process_open_fds", "Number of open file descriptors.");
const MAX_FDS: Family = Family::gauge(
    "process_max_fds",
    "Maximum number of open file descriptors.",
);
const RESIDENT: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
);
const VIRTUAL: Family = Family::gauge(
    "process_virtual_memory_bytes",
    "Virtual memory size in bytes.",
);
const MAX_VIRTUAL: Family = Family::gauge(
    "process_virtual_memory_max_bytes",
    "Maximum amount of virtual memory available in bytes.",
);
const THREADS: Family = Family::gauge("process_threads", "Number of OS threads in the process.");
const START_TIME: Family = Family::gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
);
const FAMILIES: [Family; 8] = [
    CPU,
    OPEN_FDS,
    MAX_FDS,
    RESIDENT,
    VIRTUAL,
    MAX_VIRTUAL,
    THREADS,
    START_TIME,
];

/// Values of the process at one time.
#[derive(Debug, Default)]
struct Readings {
    cpu: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    resident: Option<f64>,
    virtual_memory: Option<f64>,
    max_virtual_memory: Option<f64>,
    threads: Option<f64>,
    start_time: Option<f64>,
}

impl ProcessCollector {
    /// Creates a collector for the current process.
    pub fn new() -> Self {
        Self {
            descs: FAMILIES
                .iter()
                .map(|family| family.desc(&[], &[]))
                .collect(),
            source: Source::new(),
        }
    }
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProcessCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessCollector").finish_non_exhaustive()
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let read = self.source.read();
        [
            (CPU, read.cpu),
            (OPEN_FDS, read.open_fds),
            (MAX_FDS, read.max_fds),
            (RESIDENT, read.resident),
            (VIRTUAL, read.virtual_memory),
            (MAX_VIRTUAL, read.max_virtual_memory),
            (THREADS, read.threads),
            (START_TIME, read.start_time),
        ]
        .into_iter()
        .filter_map(|(family, value)| Some(family.with(vec![family.metric(&[], value?)])))
        .collect()
    }
}

#[cfg(target_os = "linux")]
use self::linux::Source;

#[cfg(target_os = "linux")]
mod linux {
    //! The process as Linux shows it in `/proc`.

    use std::fs;

    use super::Readings;

    /// Type of the entry for clock ticks per second in the auxiliary vector.
    const AT_CLKTCK: usize = 17;
    /// Ticks per second on every common architecture.
    const DEFAULT_TICKS: f64 = 100.0;

    /// Values that do not change while the process runs.
    #[derive(Debug)]
    pub(super) struct Source {
        /// Clock ticks per second.
        ticks: f64,
        start_time: Option<f64>,
    }

    impl Source {
        pub(super) fn new() -> Self {
            let ticks = ticks().unwrap_or(DEFAULT_TICKS);
            // Read once, because the boot time follows corrections of the clock.
            let start_time = Stat::read().and_then(|stat| {
                let boot_time = number_after(&read("/proc/stat")?, "btime ")?;
                Some(boot_time + stat.start_ticks / ticks)
            });
            Self { ticks, start_time }
        }

        pub(super) fn read(&self) -> Readings {
            let stat = Stat::read();
            let stat = stat.as_ref();
            let status = read("/proc/self/status");
            let limits = read("/proc/self/limits");
            let limits = limits.as_deref();
            Readings {
                cpu: stat.map(|stat| stat.cpu_ticks / self.ticks),
                open_fds: open_fds(),
                max_fds: limits.and_then(|limits| limit(limits, "Max open files")),
                // `stat` has pages, whose size is not in `/proc`.
                resident: status
                    .and_then(|status| number_after(&status, "VmRSS:"))
                    .map(|kilobytes| kilobytes * 1024.0),
                virtual_memory: stat.map(|stat| stat.virtual_memory),
                max_virtual_memory: limits.and_then(|limits| limit(limits, "Max address space")),
                threads: stat.map(|stat| stat.threads),
                start_time: self.start_time,
            }
        }
    }

    #[derive(Debug, PartialEq)]
    struct Stat {
        cpu_ticks: f64,
        threads: f64,
        start_ticks: f64,
        virtual_memory: f64,
    }

    impl Stat {
        fn read() -> Option<Self> {
            Self::parse(&read("/proc/self/stat")?)
        }

        fn parse(text: &str) -> Option<Self> {
            // The name of the program may contain spaces and parentheses.
            let (_, fields) = text.rsplit_once(')')?;
            let fields: Vec<_> = fields.split_ascii_whitespace().collect();
            // `man proc_pid_stat` counts from 1 and has two fields before these.
            let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
            Some(Self {
                cpu_ticks: field(14)? + field(15)?,
                threads: field(20)?,
                start_ticks: field(22)?,
                virtual_memory: field(23)?,
            })
        }
    }

    fn read(path: &str) -> Option<String> {
        // A program's name need not be UTF-8.
        Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
    }

    /// Returns the number that follows a key at the start of a line.
    fn number_after(text: &str, key: &str) -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Returns a soft limit.
    fn limit(limits: &str, name: &str) -> Option<f64> {
        let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
        match rest.split_ascii_whitespace().next()? {
            "unlimited" => Some(u64::MAX as f64),
            soft => soft.parse().ok(),
        }
    }

    fn open_fds() -> Option<f64> {
        // Since Linux 6.2, the size of the directory is the number of descriptors.
        let size = fs::metadata("/proc/self/fd").ok()?.len();
        if size > 0 {
            return Some(size as f64);
        }
        // One of them is that of the directory.
        Some(
            fs::read_dir("/proc/self/fd")
                .ok()?
                .count()
                .saturating_sub(1) as f64,
        )
    }

    fn ticks() -> Option<f64> {
        let words = fs::read("/proc/self/auxv").ok()?;
        let mut words = words
            .chunks_exact(size_of::<usize>())
            .map(|word| Some(usize::from_ne_bytes(word.try_into().ok()?)));
        while let (Some(key), Some(value)) = (words.next()?, words.next()?) {
            if key == AT_CLKTCK && value > 0 {
                return Some(value as f64);
            }
        }
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_name_of_a_program_may_look_like_fields() {
            let stat = Stat::parse(
                "9 (a) R 1) S 1 9 9 0 -1 4194560 87 0 0 0 250 150 0 0 20 0 7 0 5000 1048576 99 1",
            );
            let expected = Stat {
                cpu_ticks: 400.0,
                threads: 7.0,
                start_ticks: 5000.0,
                virtual_memory: 1_048_576.0,
            };
            assert_eq!(stat, Some(expected));
        }

        #[test]
        fn an_unlimited_limit_is_the_greatest_integer() {
            let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                          Max open files            1024                 1048576              files\n\
                          Max address space         unlimited            unlimited            bytes\n";
            assert_eq!(limit(limits, "Max open files"), Some(1024.0));
            assert_eq!(limit(limits, "Max address space"), Some(u64::MAX as f64));
            assert_eq!(limit(limits, "Max cpu time"), None);
        }

        #[test]
        fn the_kernel_tells_the_ticks_per_second() {
            assert_eq!(ticks(), Some(DEFAULT_TICKS));
        }
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Source;

#[cfg(not(target_os = "linux"))]
impl Source {
    fn new() -> Self {
        Self
    }

    fn read(&self) -> Readings {
        // One of the entries is the descriptor of the directory.
        let open_fds = if cfg!(unix) {
            let entries = std::fs::read_dir("/dev/fd").ok();
            entries.map(|entries| entries.count().saturating_sub(1) as f64)
        } else {
            None
        };
        Readings {
            open_fds,
            ..Readings::default()
        }
    }
}
