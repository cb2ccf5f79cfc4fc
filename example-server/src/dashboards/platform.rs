//! *Platform*: the database, the runtime, the process, and the faults injected on purpose.

use tower_metrics_dashboard::{Dashboard, Panel, Row, Selector, Tone, Unit};

use super::{OVERVIEW, PLATFORM, POOL, SALES, connections_used};

const OPERATION: &str = "db_operation_name";
const STATE: &str = "db_client_connection_state";
const INSTANCE: &str = "instance";

pub(super) fn dashboard() -> Dashboard {
    let description = "What the platform stands on: the database and its pools, Tokio's runtime, \
                       the process; and the faults that were injected on purpose.";
    Dashboard::new(PLATFORM, "Platform", description)
        .tag("tickets")
        .link("HTTP overview", OVERVIEW)
        .link("Ticket sales", SALES)
        .row(now())
        .row(database())
        .row(runtime())
        .row(process())
        .row(faults())
}

fn of(metric: &str) -> Selector {
    Selector::new(metric)
}

fn now() -> Row {
    Row::new("At a glance")
        .panel(
            Panel::stat("Instances", Unit::Count)
                .help("Servers that Prometheus sees.")
                .decimals(0)
                .series("instances", of("example_server_build_info").value().sum()),
        )
        .panel(
            Panel::stat("Youngest runs for", Unit::Seconds)
                .help("Time since the last start of any instance.")
                .decimals(1)
                .series(
                    "uptime",
                    of("process_start_time_seconds")
                        .value()
                        .max_by([""; 0])
                        .since(),
                ),
        )
        .panel(
            Panel::stat("CPU", Unit::Count)
                .help("Cores in use, over all instances.")
                .decimals(2)
                .series("cores", of("process_cpu_seconds_total").rate().sum()),
        )
        .panel(
            Panel::stat("Memory", Unit::Bytes)
                .help("Resident memory, over all instances.")
                .decimals(1)
                .series(
                    "resident",
                    of("process_resident_memory_bytes").value().sum(),
                ),
        )
        .panel(
            Panel::stat("Connections in use", Unit::Ratio)
                .help("Share of each pool's connections that are in use. At 100 % requests queue.")
                .decimals(0)
                .threshold(0.8, Tone::Warn)
                .threshold(0.95, Tone::Bad)
                .series(format!("{{{POOL}}}"), connections_used()),
        )
        .panel(
            Panel::stat("Faults in force", Unit::Count)
                .help("Entries of the faults document in force. 0 is calm.")
                .decimals(0)
                .series("faults", of("ticket_faults_active").value().max_by([""; 0])),
        )
}

fn database() -> Row {
    let duration = || of("db_client_operation_duration_seconds");
    let wait = |q| of("db_client_connection_wait_time_seconds").quantile(q, [POOL]);
    let connections = || of("db_client_connection_count").value();
    Row::new("Database")
        .panel(
            Panel::lines("Operations", Unit::PerSecond)
                .help("Database operations per second. Writes are whole transactions.")
                .size(8, 9)
                .series(format!("{{{OPERATION}}}"), duration().count().rate().sum_by([OPERATION])),
        )
        .panel(
            Panel::lines("95th percentile by operation", Unit::Seconds)
                .help("One operation in twenty takes longer. The wait for a connection is not in it.")
                .size(8, 9)
                .series(format!("{{{OPERATION}}}"), duration().quantile(0.95, [OPERATION])),
        )
        .panel(
            Panel::heatmap("Operation heatmap", Unit::Seconds, duration())
                .help("Operations per second in each bucket of duration.")
                .size(8, 9),
        )
        .panel(
            Panel::lines("Connections", Unit::Count)
                .help("Connections of each pool by state, and the most it may have.")
                .size(8, 9)
                .decimals(0)
                .series(format!("{{{POOL}}} {{{STATE}}}"), connections().sum_by([POOL, STATE]))
                .series_in(
                    Tone::Muted,
                    format!("{{{POOL}}} at most"),
                    of("db_client_connection_max").value().sum_by([POOL]),
                ),
        )
        .panel(
            Panel::lines("Wait for a connection", Unit::Seconds)
                .help("How long requests wait for a connection of the pool before they reach the database.")
                .size(8, 9)
                .series(format!("{{{POOL}}} p50"), wait(0.5))
                .series(format!("{{{POOL}}} p99"), wait(0.99)),
        )
        .panel(
            Panel::lines("Purchases per commit", Unit::Count)
                .help("Mean number of purchases that one transaction commits: 1 with `commit = each`, more with `group` under load.")
                .size(8, 9)
                .decimals(1)
                .series("mean", of("ticket_purchase_batch_size").mean([""; 0])),
        )
}

fn runtime() -> Row {
    let busy = of("tokio_worker_busy_seconds_total")
        .rate()
        .sum_by([INSTANCE]);
    let gauge = |metric: &str| of(metric).value().sum_by([INSTANCE]);
    Row::new("Tokio runtime")
        .panel(
            Panel::lines("Workers busy", Unit::Ratio)
                .help("Share of the worker threads' time that they were busy. Near 100 % the API is short of CPU, or something blocks.")
                .size(8, 8)
                .decimals(0)
                .threshold(0.9, Tone::Bad)
                .series("{instance}", busy.ratio(gauge("tokio_workers"))),
        )
        .panel(
            Panel::lines("Tasks", Unit::Count)
                .help("Tasks that are alive: connections, requests, background work.")
                .size(8, 8)
                .decimals(0)
                .series("{instance}", gauge("tokio_alive_tasks")),
        )
        .panel(
            Panel::lines("Global queue", Unit::Count)
                .help("Tasks that wait for a worker. It stays near zero as long as the workers keep up.")
                .size(8, 8)
                .decimals(0)
                .series("{instance}", gauge("tokio_global_queue_depth")),
        )
}

fn process() -> Row {
    let gauge = |metric: &str| of(metric).value().sum_by([INSTANCE]);
    Row::new("Process")
        .panel(
            Panel::lines("CPU", Unit::Count)
                .help("Cores in use.")
                .size(6, 8)
                .decimals(2)
                .series(
                    "{instance}",
                    of("process_cpu_seconds_total").rate().sum_by([INSTANCE]),
                ),
        )
        .panel(
            Panel::lines("Memory", Unit::Bytes)
                .help("Resident memory.")
                .size(6, 8)
                .series("{instance}", gauge("process_resident_memory_bytes")),
        )
        .panel(
            Panel::lines("Open files", Unit::Ratio)
                .help("Share of the file descriptors that the process may open; sockets count.")
                .size(6, 8)
                .decimals(1)
                .threshold(0.8, Tone::Bad)
                .series(
                    "{instance}",
                    gauge("process_open_fds").ratio(gauge("process_max_fds")),
                ),
        )
        .panel(
            Panel::lines("Threads", Unit::Count)
                .help("Threads of the operating system.")
                .size(6, 8)
                .decimals(0)
                .series("{instance}", gauge("process_threads")),
        )
}

fn faults() -> Row {
    let by = ["operation", "kind"];
    let mode = of("ticket_commit_mode").value().max_by(["mode"]);
    Row::new("Faults and switches")
        .panel(
            Panel::lines("Faults injected", Unit::PerSecond)
                .help("Faults injected on purpose, by operation and kind. They are marked on every chart where they begin.")
                .size(12, 9)
                .series("{operation} {kind}", of("ticket_faults_injected_total").rate().sum_by(by)),
        )
        .panel(
            Panel::lines("Preset in force", Unit::Count)
                .help("1 for the preset whose faults are in force; `custom` is a document of one's own.")
                .size(6, 9)
                .decimals(0)
                .stacked()
                .series("{preset}", of("ticket_faults_preset").value().max_by(["preset"])),
        )
        .panel(
            Panel::lines("Commit mode", Unit::Count)
                .help("1 for the way in which purchases are committed: each by itself, or in groups.")
                .size(6, 9)
                .decimals(0)
                .stacked()
                .series("{mode}", mode),
        )
}
