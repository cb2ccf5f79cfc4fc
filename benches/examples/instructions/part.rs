//! Parts of a request's path, to which instructions are attributed.

use crate::profile::Site;

/// Parts in the order of the table.
pub(crate) const PARTS: [&str; 13] = [
    "service",
    "extensions",
    "route lookup",
    "head and labels",
    "pool",
    "state",
    "future",
    "body",
    "clock",
    "recorder",
    "moves",
    "allocation",
    "others",
];

/// Returns the part that a site belongs to.
///
/// A line of tower-metrics belongs to the part of its file, and a line of another
/// crate that is inlined there to the part of the function's module. `others` are the
/// libraries and the driver, where they run other instructions than without the layer.
pub(crate) fn part(site: &Site) -> &'static str {
    let function = &site.function;
    let contains = |parts: &[&str]| parts.iter().any(|part| function.contains(part));
    if contains(&["memcpy", "memmove", "memset"]) {
        return "moves";
    }
    if contains(&["malloc", "free", "realloc", "__rdl_", "__rust_alloc"]) {
        return "allocation";
    }
    if contains(&[
        "clock_gettime",
        "Timespec",
        "Instant",
        "SystemTime",
        "quanta",
    ]) {
        return "clock";
    }
    if contains(&["Extensions"])
        || site.file.contains("/http-") && site.file.ends_with("/extensions.rs")
    {
        return "extensions";
    }
    if let Some((_, file)) = site.file.rsplit_once("tower-metrics/src/") {
        return of_module(file.trim_end_matches(".rs"));
    }
    // A function such as `tower_metrics::guard::end`.
    match function.split_once("tower_metrics::") {
        Some((_, path)) => of_module(&path.replace("::", "/")),
        None => "others",
    }
}

fn of_module(path: &str) -> &'static str {
    match path.split(['/', '<']).next().unwrap_or_default() {
        "layer" | "service" => "service",
        "route" | "routes" | "shared" | "table" | "matched_path_cache" => "route lookup",
        "head" | "label" | "trace_id" => "head and labels",
        "pool" => "pool",
        "future" => "future",
        "body" => "body",
        "clock" => "clock",
        "prometheus" | "opentelemetry" | "recorder" => "recorder",
        _ => "state",
    }
}
