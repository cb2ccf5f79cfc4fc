//! Budget of file descriptors.

/// Maximum number of connections to the ops port.
const OPS_CONNECTIONS: u64 = 128;
/// Descriptors for everything else: 67 of SQLite with 33 connections, log, epoll instances, the faults
/// file.
const RESERVED: u64 = 96;

/// How the process's file descriptors are divided. Connections to the API cannot use up those of
/// the ops port or the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Maximum number of connections to the API.
    pub(crate) api: usize,
    /// Maximum number of connections to the ops port.
    pub(crate) ops: usize,
}

impl Descriptors {
    /// Raises the soft open file limit to the hard limit and divides it. The API gets `wanted`
    /// connections, or fewer when the limit is low.
    pub(crate) fn divide(wanted: usize) -> Self {
        let limit = raise_limit();
        let divided = Self::of(limit, wanted);
        if divided.api < wanted {
            tracing::warn!(
                wanted,
                open_files = limit,
                max_connections = divided.api,
                "connection limit lowered to fit the open file limit"
            );
        }
        divided
    }

    fn of(limit: Option<u64>, wanted: usize) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let ops = (limit / 8).clamp(1, OPS_CONNECTIONS);
        let reserved = RESERVED.min(limit / 4);
        let left = limit.saturating_sub(ops + reserved).max(1);
        Self {
            api: wanted.min(usize::try_from(left).unwrap_or(usize::MAX)),
            ops: usize::try_from(ops).unwrap_or(1),
        }
    }
}

/// `OPEN_MAX` of macOS.
#[cfg(unix)]
const OPEN_MAX: u64 = 10_240;

/// Returns the open file limit; `None` if there is none.
#[cfg(unix)]
fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    // macOS reports no hard limit, but rejects more than `OPEN_MAX`.
    for current in [limit.maximum, Some(OPEN_MAX)] {
        let raised = Rlimit { current, ..limit };
        let is_higher = current.unwrap_or(u64::MAX) > limit.current.unwrap_or(u64::MAX);
        if is_higher && setrlimit(Resource::Nofile, raised).is_ok() {
            return current;
        }
    }
    limit.current
}

#[cfg(not(unix))]
fn raise_limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_in_the_open_file_limit_with_a_margin() {
        for (limit, api, ops) in [
            (None, 8_192, 128),
            (Some(20_000), 8_192, 128),
            (Some(1_024), 800, 128),
            (Some(256), 160, 32),
            (Some(64), 40, 8),
            (Some(4), 2, 1),
        ] {
            assert_eq!(
                Descriptors::of(limit, 8_192),
                Descriptors { api, ops },
                "{limit:?}"
            );
        }
    }
}
