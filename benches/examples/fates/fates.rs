//! The fates, and what is right.

use crate::app::{CHUNKED, SLOW, Stack};
use crate::client::Client;
use crate::counts::{Counts, Labels};

/// Something that can happen to a request.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) name: &'static str,
    pub(crate) stack: Stack,
    pub(crate) client: Client,
    right: Right,
}

/// What a layer has to do to be right; counting once, and nothing left in
/// flight, is always part of it.
#[derive(Clone, Copy, Debug)]
enum Right {
    /// Counts it with this status.
    Status(&'static str),
    /// Counts it, under whatever labels.
    Counted,
    /// Counts it, and not as if all had gone well.
    ToldApart,
    /// Sees how many bytes were sent.
    Bytes,
    /// Sees how long the client waited.
    Seconds,
    /// Makes one series of many requests.
    OneSeries,
}

const fn fate(name: &'static str, stack: Stack, client: Client, right: Right) -> Fate {
    Fate {
        name,
        stack,
        client,
        right,
    }
}

/// All of them.
pub(crate) const FATES: &[Fate] = &[
    fate(
        "200, one frame",
        Stack::Alone,
        Client::Reads("GET", "/whole"),
        Right::Status("200"),
    ),
    fate(
        "204",
        Stack::Alone,
        Client::Reads("GET", "/empty"),
        Right::Status("204"),
    ),
    fate(
        "HEAD",
        Stack::Alone,
        Client::Reads("HEAD", "/whole"),
        Right::Status("200"),
    ),
    fate(
        "500",
        Stack::Alone,
        Client::Reads("GET", "/fails"),
        Right::Status("500"),
    ),
    fate(
        "chunked body of 3,000 bytes",
        Stack::Alone,
        Client::Reads("GET", "/chunked"),
        Right::Bytes,
    ),
    fate(
        "body that takes 0.2 s",
        Stack::Alone,
        Client::Reads("GET", "/slow-body"),
        Right::Seconds,
    ),
    fate(
        "hung up before the head",
        Stack::Alone,
        Client::HangsUp("/never/1"),
        Right::Counted,
    ),
    fate(
        "HTTP/2 reset before the head",
        Stack::Alone,
        Client::Resets("/never/1"),
        Right::Counted,
    ),
    fate(
        "hung up in mid-body",
        Stack::Alone,
        Client::HangsUpInTheBody("/download"),
        Right::ToldApart,
    ),
    fate(
        "event stream, closed by the client",
        Stack::Alone,
        Client::HangsUpInTheBody("/events"),
        Right::Status("200"),
    ),
    fate(
        "body fails in the middle",
        Stack::Alone,
        Client::Reads("GET", "/breaks"),
        Right::ToldApart,
    ),
    fate(
        "panic, caught inside",
        Stack::CatchPanicInside,
        Client::Reads("GET", "/panics"),
        Right::Status("500"),
    ),
    fate(
        "panic, caught outside",
        Stack::CatchPanicOutside,
        Client::Reads("GET", "/panics"),
        Right::ToldApart,
    ),
    fate(
        "inner service returns Err",
        Stack::Error,
        Client::Reads("GET", "/never/1"),
        Right::ToldApart,
    ),
    fate(
        "timeout layer inside",
        Stack::TimeoutInside,
        Client::Reads("GET", "/never/1"),
        Right::Status("504"),
    ),
    fate(
        "timeout layer outside",
        Stack::TimeoutOutside,
        Client::Reads("GET", "/never/1"),
        Right::Counted,
    ),
    fate(
        "scanner, 100 unknown paths",
        Stack::Alone,
        Client::Scans,
        Right::OneSeries,
    ),
    fate(
        "100 unknown methods",
        Stack::Alone,
        Client::SendsMethods("/whole"),
        Right::OneSeries,
    ),
];

impl Fate {
    /// What a contestant counted, and whether that is right.
    pub(crate) fn verdict(&self, counts: &Counts) -> String {
        let right = self.is_right(counts) && counts.in_flight == 0.0;
        let mark = if right { '✓' } else { '✗' };
        let left = match counts.in_flight {
            0.0 => String::new(),
            left => format!(", {left:+} in flight"),
        };
        format!("{mark} {}{left}", self.describe(counts))
    }

    fn is_right(&self, counts: &Counts) -> bool {
        let once = counts.sum(|figures| figures.requests) == 1.0;
        let labels = counts.series.keys().next().cloned().unwrap_or_default();
        match self.right {
            Right::Status(status) => once && labels.status == status,
            Right::Counted => once,
            Right::ToldApart => once && (labels.status != "200" || !labels.error.is_empty()),
            Right::Bytes => once && counts.bytes == CHUNKED as f64,
            Right::Seconds => once && counts.sum(|figures| figures.seconds) >= SLOW.as_secs_f64(),
            Right::OneSeries => counts.series.len() == 1,
        }
    }

    fn describe(&self, counts: &Counts) -> String {
        if counts.series.is_empty() {
            return "-".to_owned();
        }
        match self.right {
            Right::OneSeries => match counts.series.len() {
                1 => "1 series".to_owned(),
                n => format!("{n} series"),
            },
            Right::Bytes => format!("{} bytes", counts.bytes),
            Right::Seconds => format!("{:.1} s", counts.sum(|figures| figures.seconds)),
            _ => {
                let each = counts.series.iter().map(|(labels, figures)| {
                    let times = match figures.requests {
                        1.0 => String::new(),
                        n => format!(" x{n}"),
                    };
                    format!("{}{times}", answer(labels))
                });
                each.collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

fn answer(labels: &Labels) -> String {
    match (&*labels.status, &*labels.error) {
        ("", "") => "no status".to_owned(),
        (status, "") => status.to_owned(),
        ("", error) => error.to_owned(),
        (status, error) if status == error => status.to_owned(),
        (status, error) => format!("{status} {error}"),
    }
}
