//! Parameters and results of `GET api/requests`.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::recent::{LoggedRequest, RequestQuery};

const PARAMETERS: &str = "from, to, at_least, at_most, method, route, id, limit";

/// Parses the parameters of `GET api/requests`.
///
/// # Errors
/// Returns the parameter, its value and what is allowed.
pub(super) fn parse_query(parameters: &HashMap<String, String>) -> Result<RequestQuery, String> {
    let mut query = RequestQuery::default();
    for (name, value) in parameters {
        let seconds = || {
            let number: Option<f64> = value.parse().ok();
            let duration = number.and_then(|n| Duration::try_from_secs_f64(n).ok());
            duration
                .ok_or_else(|| format!("{name}: {value:?} must be a number of seconds, 0 or more"))
        };
        let time = || {
            let time = UNIX_EPOCH.checked_add(seconds()?);
            time.ok_or_else(|| format!("{name}: {value:?} must be a Unix time in seconds"))
        };
        match name.as_str() {
            "from" => query.from = time()?,
            "to" => query.to = time()?,
            "at_least" => query.at_least = seconds()?,
            "at_most" => query.at_most = seconds()?,
            "method" => query.method = Some(value.clone()),
            "route" => query.route = Some(value.clone()),
            "id" => query.id = Some(value.clone()),
            "limit" => match value.parse() {
                Ok(limit @ 1..=1000) => query.limit = limit,
                _ => return Err(format!("limit: {value:?} must be between 1 and 1000")),
            },
            _ => {
                return Err(format!(
                    "unknown parameter {name:?}: must be one of {PARAMETERS}"
                ));
            }
        }
    }
    Ok(query)
}

/// Returns a request as `GET api/requests` lists it.
pub(super) fn to_json(request: &LoggedRequest) -> Value {
    let at = request.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "at": at.as_millis() as f64 / 1000.0,
        "duration_s": request.duration.as_secs_f64(),
        "id": request.id,
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "error_type": request.error_type,
        "failed": request.failed,
        "line": request.line,
    })
}
