//! Fates of requests, and what a middleware should record.

use crate::app::{CHUNKED, SLOW, Stack};
use crate::client::Client;
use crate::counts::{Counts, Labels};

/// Outcome of a request, with the stack and the client that produce it.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) name: &'static str,
    pub(crate) stack: Stack,
    pub(crate) client: Client,
    expected: Expected,
}

/// Expected record, in addition to one count and an unchanged gauge of requests in
/// flight.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The status.
    Status(&'static str),
    /// Any labels.
    Counted,
    /// Labels that differ from those of a success.
    NotSuccess,
    /// The number of bytes sent.
    Bytes,
    /// The time that the client waited.
    Seconds,
    /// One series for many requests.
    OneSeries,
}

const fn fate(name: &'static str, stack: Stack, client: Client, expected: Expected) -> Fate {
    Fate {
        name,
        stack,
        client,
        expected,
    }
}

/// All fates.
pub(crate) const FATES: &[Fate] = &[
    fate(
        "200, one frame",
        Stack::MetricsOnly,
        Client::Reads("GET", "/whole"),
        Expected::Status("200"),
    ),
    fate(
        "204",
        Stack::MetricsOnly,
        Client::Reads("GET", "/empty"),
        Expected::Status("204"),
    ),
    fate(
        "HEAD",
        Stack::MetricsOnly,
        Client::Reads("HEAD", "/whole"),
        Expected::Status("200"),
    ),
    fate(
        "500",
        Stack::MetricsOnly,
        Client::Reads("GET", "/fails"),
        Expected::Status("500"),
    ),
    fate(
        "chunked body of 3,000 bytes",
        Stack::MetricsOnly,
        Client::Reads("GET", "/chunked"),
        Expected::Bytes,
    ),
    fate(
        "body that takes 0.2 s",
        Stack::MetricsOnly,
        Client::Reads("GET", "/slow-body"),
        Expected::Seconds,
    ),
    fate(
        "client disconnects before the head",
        Stack::MetricsOnly,
        Client::DisconnectsBeforeHead("/never/1"),
        Expected::Counted,
    ),
    fate(
        "HTTP/2 reset before the head",
        Stack::MetricsOnly,
        Client::Resets("/never/1"),
        Expected::Counted,
    ),
    fate(
        "client disconnects during the body",
        Stack::MetricsOnly,
        Client::DisconnectsDuringBody("/download"),
        Expected::NotSuccess,
    ),
    fate(
        "event stream, closed by the client",
        Stack::MetricsOnly,
        Client::DisconnectsDuringBody("/events"),
        Expected::Status("200"),
    ),
    fate(
        "body fails before its end",
        Stack::MetricsOnly,
        Client::Reads("GET", "/breaks"),
        Expected::NotSuccess,
    ),
    fate(
        "panic, caught inside",
        Stack::CatchPanicInside,
        Client::Reads("GET", "/panics"),
        Expected::Status("500"),
    ),
    fate(
        "panic, caught outside",
        Stack::CatchPanicOutside,
        Client::Reads("GET", "/panics"),
        Expected::NotSuccess,
    ),
    fate(
        "inner service returns Err",
        Stack::Error,
        Client::Reads("GET", "/never/1"),
        Expected::NotSuccess,
    ),
    fate(
        "timeout layer inside",
        Stack::TimeoutInside,
        Client::Reads("GET", "/never/1"),
        Expected::Status("504"),
    ),
    fate(
        "timeout layer outside",
        Stack::TimeoutOutside,
        Client::Reads("GET", "/never/1"),
        Expected::Counted,
    ),
    fate(
        "scanner, 100 unknown paths",
        Stack::MetricsOnly,
        Client::Scans,
        Expected::OneSeries,
    ),
    fate(
        "100 unknown methods",
        Stack::MetricsOnly,
        Client::SendsMethods("/whole"),
        Expected::OneSeries,
    ),
];

impl Fate {
    /// Describes what was recorded, and marks whether it is correct.
    pub(crate) fn evaluate(&self, counts: &Counts) -> String {
        let correct = self.is_correct(counts) && counts.in_flight == 0.0;
        let mark = if correct { '✓' } else { '✗' };
        let in_flight = match counts.in_flight {
            0.0 => String::new(),
            n => format!(", {n:+} in flight"),
        };
        format!("{mark} {}{in_flight}", self.describe(counts))
    }

    fn is_correct(&self, counts: &Counts) -> bool {
        let once = counts.sum(|values| values.requests) == 1.0;
        let labels = counts.series.keys().next().cloned().unwrap_or_default();
        match self.expected {
            Expected::Status(status) => once && labels.status == status,
            Expected::Counted => once,
            Expected::NotSuccess => once && (labels.status != "200" || !labels.error.is_empty()),
            Expected::Bytes => once && counts.bytes == CHUNKED as f64,
            Expected::Seconds => once && counts.sum(|values| values.seconds) >= SLOW.as_secs_f64(),
            Expected::OneSeries => counts.series.len() == 1,
        }
    }

    fn describe(&self, counts: &Counts) -> String {
        if counts.series.is_empty() {
            return "-".to_owned();
        }
        match self.expected {
            Expected::OneSeries => match counts.series.len() {
                1 => "1 series".to_owned(),
                n => format!("{n} series"),
            },
            Expected::Bytes => format!("{} bytes", counts.bytes),
            Expected::Seconds => format!("{:.1} s", counts.sum(|values| values.seconds)),
            _ => {
                let each = counts.series.iter().map(|(labels, values)| {
                    let times = match values.requests {
                        1.0 => String::new(),
                        n => format!(" x{n}"),
                    };
                    format!("{}{times}", outcome(labels))
                });
                each.collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

fn outcome(labels: &Labels) -> String {
    match (&*labels.status, &*labels.error) {
        ("", "") => "no status".to_owned(),
        (status, "") => status.to_owned(),
        ("", error) => error.to_owned(),
        (status, error) if status == error => status.to_owned(),
        (status, error) => format!("{status} {error}"),
    }
}
