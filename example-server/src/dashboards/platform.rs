//! The dashboard *Platform*: database, runtime, process and injected faults.

use tower_metrics_dashboard::{
    Color, Dashboard, Expr, Heatmap, Row, Selector, Stat, TimeSeries, Unit,
};

use super::{OVERVIEW, PLATFORM, POOL, SALES};

const OPERATION: &str = "db_operation_name";
const STATE: &str = "db_client_connection_state";
const INSTANCE: &str = "instance";

pub(super) fn dashboard() -> Dashboard {
    let description = "Database and connection pools, Tokio runtime, process, and injected faults.";
    Dashboard::new(PLATFORM, "Platform", description)
        .tag("tickets")
        .link("HTTP overview", OVERVIEW)
        .link("Ticket sales", SALES)
        .row(at_a_glance())
        .row(database())
        .row(runtime())
        .row(process())
        .row(faults())
}

fn of(metric: &str) -> Selector {
    Selector::new(metric)
}

fn by_instance(gauge: &str) -> Expr {
    of(gauge).value().sum_by([INSTANCE])
}

/// The ratio of each pool's connections that are in use.
fn pool_utilization() -> Expr {
    let used = of("db_client_connection_count").with(STATE, ["used"]);
    let max = of("db_client_connection_max");
    used.value()
        .sum_by([POOL])
        .ratio(max.value().sum_by([POOL]))
}

fn at_a_glance() -> Row {
    let started = of("process_start_time_seconds").value().max();
    let memory = of("process_resident_memory_bytes").value().sum();
    Row::new("At a glance")
        .panel(
            Stat::new("Instances", Unit::Count)
                .description("Running servers.")
                .decimals(0)
                .series("instances", of("example_server_build_info").value().sum()),
        )
        .panel(
            Stat::new("Uptime", Unit::Seconds)
                .description("Time since the most recent start of an instance.")
                .decimals(1)
                .series("uptime", started.since()),
        )
        .panel(
            Stat::new("CPU cores", Unit::Count)
                .description("CPU cores in use by all instances.")
                .decimals(2)
                .series("cores", of("process_cpu_seconds_total").rate().sum()),
        )
        .panel(
            Stat::new("Memory", Unit::Bytes)
                .description("Resident memory of all instances.")
                .decimals(1)
                .series("resident", memory),
        )
        .panel(
            Stat::new("Pool utilization", Unit::Ratio)
                .description("Ratio of each pool's connections in use. Requests queue at 100%.")
                .decimals(0)
                .threshold(0.8, Color::Yellow)
                .threshold(0.95, Color::Red)
                .series(format!("{{{POOL}}}"), pool_utilization()),
        )
        .panel(
            Stat::new("Active faults", Unit::Count)
                .description("Entries of the active faults document; 0 if it is calm.")
                .decimals(0)
                .series("faults", of("ticket_faults_active").value().max()),
        )
}

fn database() -> Row {
    let duration = || of("db_client_operation_duration_seconds");
    let wait = |q| of("db_client_connection_wait_time_seconds").quantile_by(q, [POOL]);
    let rate = duration().count().rate().sum_by([OPERATION]);
    let connections = of("db_client_connection_count").value();
    Row::new("Database")
        .panel(
            TimeSeries::new("Operations", Unit::PerSecond)
                .description("Database operations per second. A write is a whole transaction.")
                .size(8, 9)
                .series(format!("{{{OPERATION}}}"), rate),
        )
        .panel(
            TimeSeries::new("p95 duration by operation", Unit::Seconds)
                .description(
                    "95th percentile of the operation duration, without the wait for a connection.",
                )
                .size(8, 9)
                .series(
                    format!("{{{OPERATION}}}"),
                    duration().quantile_by(0.95, [OPERATION]),
                ),
        )
        .panel(
            Heatmap::new("Operation heatmap", Unit::Seconds, duration())
                .description("Operations per second in each duration bucket.")
                .size(8, 9),
        )
        .panel(
            TimeSeries::new("Connections", Unit::Count)
                .description("Connections of each pool by state, and the maximum.")
                .size(8, 9)
                .decimals(0)
                .series(
                    format!("{{{POOL}}} {{{STATE}}}"),
                    connections.sum_by([POOL, STATE]),
                )
                .colored_series(
                    Color::Gray,
                    format!("{{{POOL}}} max"),
                    of("db_client_connection_max").value().sum_by([POOL]),
                ),
        )
        .panel(
            TimeSeries::new("Connection wait time", Unit::Seconds)
                .description("How long requests wait for a connection of the pool.")
                .size(8, 9)
                .series(format!("{{{POOL}}} p50"), wait(0.5))
                .series(format!("{{{POOL}}} p99"), wait(0.99)),
        )
        .panel(
            TimeSeries::new("Purchases per commit", Unit::Count)
                .description(
                    "Mean number of purchases in a transaction: 1 with `commit = each`, more with \
                     `commit = group` under load.",
                )
                .size(8, 9)
                .decimals(1)
                .series("mean", of("ticket_purchase_batch_size").mean()),
        )
}

fn runtime() -> Row {
    const RUNTIME: &str = "runtime";
    const LEGEND: &str = "{instance} {runtime}";
    let by_runtime = |gauge: &str| of(gauge).value().sum_by([INSTANCE, RUNTIME]);
    let busy = of("tokio_worker_busy_seconds_total")
        .rate()
        .sum_by([INSTANCE, RUNTIME]);
    Row::new("Tokio runtime")
        .panel(
            TimeSeries::new("Worker utilization", Unit::Ratio)
                .description(
                    "Ratio of time that worker threads are busy. Near 100%, the CPU is saturated \
                     or tasks block the runtime.",
                )
                .size(8, 8)
                .decimals(0)
                .threshold(0.9, Color::Red)
                .series(LEGEND, busy.ratio(by_runtime("tokio_workers"))),
        )
        .panel(
            TimeSeries::new("Tasks", Unit::Count)
                .description("Tasks that are alive: connections, requests and background work.")
                .size(8, 8)
                .decimals(0)
                .series(LEGEND, by_runtime("tokio_alive_tasks")),
        )
        .panel(
            TimeSeries::new("Global queue", Unit::Count)
                .description("Tasks in the runtime's global queue. Grows when workers fall behind.")
                .size(8, 8)
                .decimals(0)
                .series(LEGEND, by_runtime("tokio_global_queue_depth")),
        )
}

fn process() -> Row {
    let cpu = of("process_cpu_seconds_total").rate().sum_by([INSTANCE]);
    let open_fds = by_instance("process_open_fds").ratio(by_instance("process_max_fds"));
    Row::new("Process")
        .panel(
            TimeSeries::new("CPU", Unit::Count)
                .description("CPU cores in use.")
                .size(6, 8)
                .decimals(2)
                .series("{instance}", cpu),
        )
        .panel(
            TimeSeries::new("Memory", Unit::Bytes)
                .description("Resident memory.")
                .size(6, 8)
                .series("{instance}", by_instance("process_resident_memory_bytes")),
        )
        .panel(
            TimeSeries::new("File descriptors", Unit::Ratio)
                .description("Ratio of the process's limit of file descriptors in use.")
                .size(6, 8)
                .decimals(1)
                .threshold(0.8, Color::Red)
                .series("{instance}", open_fds),
        )
        .panel(
            TimeSeries::new("Threads", Unit::Count)
                .description("Operating system threads.")
                .size(6, 8)
                .decimals(0)
                .series("{instance}", by_instance("process_threads")),
        )
}

fn faults() -> Row {
    let injected = of("ticket_faults_injected_total").rate();
    let preset = of("ticket_faults_preset").value().max_by(["preset"]);
    let mode = of("ticket_commit_mode").value().max_by(["mode"]);
    Row::new("Faults and commit mode")
        .panel(
            TimeSeries::new("Injected faults", Unit::PerSecond)
                .description("Injected faults per second, by operation and kind.")
                .size(12, 9)
                .series("{operation} {kind}", injected.sum_by(["operation", "kind"])),
        )
        .panel(
            TimeSeries::new("Active preset", Unit::Count)
                .description("1 for the active faults preset. A step of a scenario with other faults is `scenario`, any other document `custom`.")
                .size(6, 9)
                .decimals(0)
                .stacked(true)
                .series("{preset}", preset),
        )
        .panel(
            TimeSeries::new("Commit mode", Unit::Count)
                .description("1 for the active commit mode.")
                .size(6, 9)
                .decimals(0)
                .stacked(true)
                .series("{mode}", mode),
        )
}
