//! Settings and routes that all requests of a layer share.

use std::borrow::Cow;

#[cfg(feature = "axum")]
use axum::extract::MatchedPath;
use http::{Extensions, Request};

use crate::head::RequestHead;
use crate::label::Label;
use crate::oldest_request::SeriesNumber;
use crate::recorder::Recorder;
use crate::route::{DurationFrom, DurationTo, Route, Source, is_skipped};
use crate::routes::{Entry, Routes, standard};
use crate::side::Side;
use crate::state::Kind;
use crate::table::MAX_KEY_LEN;
use crate::trace_id::TraceIdFn;

/// Settings and routes of a layer.
///
/// They live for the rest of the process. A reference count would be a cache line
/// that every core writes on each request.
pub(crate) struct Shared<R: Recorder> {
    pub(crate) recorder: R,
    pub(crate) route: Route,
    pub(crate) routes: Routes<Target<R>>,
    pub(crate) labels: Vec<Label>,
    /// Method of finding the target of most requests.
    pub(crate) lookup: Lookup,
    pub(crate) is_grpc_enabled: bool,
    pub(crate) side: Side,
    pub(crate) trace_id: Option<TraceIdFn>,
    pub(crate) wants_time_to_head: bool,
    pub(crate) wants_oldest_request: bool,
    /// `true` if more than the route and the method is derived from a request.
    pub(crate) inspects_requests: bool,
    pub(crate) counts_request_bytes: bool,
    pub(crate) duration_from: DurationFrom,
    /// `true` if reads of the request body are recorded.
    pub(crate) observes_request_bodies: bool,
}

/// Method of finding the target of a request without reading the text of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// By the address of axum's `MatchedPath`.
    #[cfg(feature = "axum")]
    MatchedPath,
    /// All requests have the same route.
    Fixed,
    /// The route depends on a function, the path or, with gRPC, on headers.
    None,
}

impl Lookup {
    pub(crate) fn new(route: &Route, is_grpc_enabled: bool) -> Self {
        match &route.0 {
            _ if is_grpc_enabled => Self::None,
            #[cfg(feature = "axum")]
            Source::MatchedPath => Self::MatchedPath,
            Source::Fixed(_) => Self::Fixed,
            Source::Template(_) | Source::Path | Source::From(_) => Self::None,
        }
    }
}

/// Series of a method and a route, with everything else that a request in flight
/// needs from its layer.
pub(crate) struct Target<R: Recorder> {
    pub(crate) shared: &'static Shared<R>,
    pub(crate) series: R::Series,
    /// Number of the series if its oldest request is tracked.
    pub(crate) tracked: Option<SeriesNumber>,
    pub(crate) duration_to: DurationTo,
    pub(crate) kind: Kind,
    /// `true` if more than the status is derived from a response.
    pub(crate) inspects_responses: bool,
    /// Position of the method.
    pub(crate) method: usize,
}

/// Result of looking up the route of a request.
pub(crate) enum Found<R: Recorder> {
    /// The route has a slot, or the request has no route.
    Entry(&'static Entry<Target<R>>),
    /// The route is beyond the limit.
    Overflow,
    /// The route comes from the request and is new: its response must prove that it
    /// exists.
    Candidate(Box<str>),
}

impl<R: Recorder> Shared<R> {
    /// Returns the target of a request if it is known without reading the text of the
    /// route.
    #[inline(always)]
    pub(crate) fn cached_target<B>(
        &'static self,
        request: &Request<B>,
    ) -> Option<&'static Target<R>> {
        let entry = self.cached_entry(request.extensions())?;
        entry.standard[standard(request.method())?].get()
    }

    #[inline(always)]
    fn cached_entry(&'static self, extensions: &Extensions) -> Option<&'static Entry<Target<R>>> {
        let routes = &self.routes;
        match self.lookup {
            #[cfg(feature = "axum")]
            Lookup::MatchedPath if !extensions.is_empty() => {
                // First, because a lookup that finds nothing calls no function, so that the
                // next one continues with what it has loaded.
                if is_skipped(extensions) {
                    return None;
                }
                match extensions.get() {
                    Some(path) => routes.cached(path),
                    None => routes.none.unless_skipped(),
                }
            }
            #[cfg(feature = "axum")]
            Lookup::MatchedPath => routes.none.unless_skipped(),
            Lookup::Fixed if is_skipped(extensions) => None,
            Lookup::Fixed => routes.fixed.get().copied(),
            Lookup::None => None,
        }
    }

    /// Looks up the route of a request.
    pub(crate) fn find(&'static self, head: &RequestHead<'_>, is_grpc: bool) -> Found<R> {
        let routes = &self.routes;
        let path = match &self.route.0 {
            _ if is_grpc => Cow::Borrowed(head.uri.path()),
            #[cfg(feature = "axum")]
            Source::MatchedPath => {
                let Some(path) = head.extensions.get::<MatchedPath>() else {
                    return Found::Entry(&routes.none);
                };
                let entry = routes.cached(path).or_else(|| routes.cache(path));
                return entry.map_or(Found::Overflow, Found::Entry);
            }
            Source::Fixed(route) => {
                let entry = routes.get_or_insert(route);
                if let Some(recorded) = entry.and_then(Entry::unless_skipped) {
                    routes.fixed.get_or_init(|| recorded);
                }
                return entry.map_or(Found::Overflow, Found::Entry);
            }
            Source::Template(template) => {
                let route = template(head).unwrap_or_default();
                return routes
                    .get_or_insert(route)
                    .map_or(Found::Overflow, Found::Entry);
            }
            Source::Path => Cow::Borrowed(head.uri.path()),
            Source::From(route) => route(head).unwrap_or_default(),
        };
        match routes.get(&path) {
            Some(entry) => Found::Entry(entry),
            // A client program chooses the methods that it calls.
            None if is_grpc && self.side == Side::Client => routes
                .get_or_insert(&path)
                .map_or(Found::Overflow, Found::Entry),
            None => Found::Candidate(truncate(&path).into()),
        }
    }

    /// Returns the target of a method and a route, whose series it creates if it is
    /// new.
    #[inline]
    pub(crate) fn target(
        &'static self,
        method: usize,
        entry: &'static Entry<Target<R>>,
    ) -> &'static Target<R> {
        entry
            .target(method)
            .get_or_init(|| self.new_target(method, entry))
    }

    #[cold]
    fn new_target(&'static self, method: usize, entry: &Entry<Target<R>>) -> Target<R> {
        let method_name = self.routes.method_name(method);
        let kind = Kind::of(method_name);
        let series = self.recorder.series(method_name, entry.route);
        let tracked = (self.wants_oldest_request)
            .then(SeriesNumber::next)
            .flatten();
        if let Some(number) = tracked {
            let oldest = number.oldest_request();
            self.recorder.watch_oldest_request(series, oldest);
        }
        Target {
            shared: self,
            series,
            tracked,
            duration_to: entry.duration_to,
            kind,
            inspects_responses: kind != Kind::Other
                || self.wants_time_to_head
                || self.labels.iter().any(Label::is_from_response)
                || entry.duration_to == DurationTo::Head,
            method,
        }
    }
}

/// Bounds the memory of a candidate that is too long for the table, which rejects
/// the truncated text, too.
fn truncate(route: &str) -> &str {
    let end = (MAX_KEY_LEN + 1..route.len()).find(|end| route.is_char_boundary(*end));
    &route[..end.unwrap_or(route.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_route_is_still_too_long() {
        for (route, length) in [("/".repeat(128), 128), ("ä".repeat(200), 130)] {
            assert_eq!(truncate(&route).len(), length);
        }
    }
}
