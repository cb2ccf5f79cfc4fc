//! Which route a request belongs to.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
#[cfg(feature = "axum")]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "axum")]
use axum::extract::MatchedPath;
use http::{Extensions, Method, Request};

#[cfg(feature = "axum")]
use crate::by_address::ByAddress;
use crate::flight::Shared;
use crate::head::RequestHead;
use crate::layer::{DurationTo, Skip};
use crate::outcome::Side;
use crate::recorder::Recorder;
use crate::table::{MAX_KEY_LEN, Table};

type RouteFn = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
type TemplateFn = dyn Fn(&RequestHead<'_>) -> Option<&'static str> + Send + Sync;

/// Where a request's route comes from.
///
/// The route is a template (`/users/{id}`), never the path: a path has as
/// many values as clients can think of.
pub struct Route(Source);

enum Source {
    #[cfg(feature = "axum")]
    MatchedPath,
    Fixed(&'static str),
    Template(Box<TemplateFn>),
    Path,
    From(Box<RouteFn>),
}

impl Route {
    /// axum's `MatchedPath`, as far as it is known where the layer stands.
    /// No match is the empty route.
    #[cfg(feature = "axum")]
    pub const fn matched_path() -> Self {
        Self(Source::MatchedPath)
    }

    /// The same route for every request: for a service that has just one, or
    /// for a layer around one route.
    pub const fn fixed(route: &'static str) -> Self {
        Self(Source::Fixed(route))
    }

    /// The template that a function says, `None` is the empty route. For a
    /// router of your own, and for clients, who know which template a request
    /// was made from:
    ///
    /// ```
    /// # use tower_metrics::Route;
    /// /// Put into the extensions of each request.
    /// #[derive(Clone, Copy)]
    /// struct UrlTemplate(&'static str);
    ///
    /// let route = Route::template(|head| head.extensions.get().map(|UrlTemplate(url)| *url));
    /// ```
    ///
    /// A template is text of the program and not of a request, so that it takes
    /// its place whatever the answer is. A function that panics takes the request
    /// down, which is counted as `panic` under the empty route.
    pub fn template<F>(template: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<&'static str> + Send + Sync + 'static,
    {
        Self(Source::Template(Box::new(template)))
    }

    /// The request's path. Only for paths that the server itself bounds, such
    /// as gRPC's `/package.Service/Method`.
    pub fn path() -> Self {
        Self(Source::Path)
    }

    /// A function's answer; `None` is the empty route.
    ///
    /// A new route takes one of the layer's slots only with a response that
    /// proves it: a 2xx or 101, and for gRPC a message or the status `OK`. A
    /// scanner that is refused, redirected or not found cannot use them up; its
    /// requests are counted under the empty route. A function that panics takes
    /// the request down, which is counted as `panic` under the empty route.
    pub fn from_fn<F>(route: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self(Source::From(Box::new(route)))
    }
}

impl Route {
    /// Returns why no request of a layer can have this route, if none can.
    pub(crate) fn refuses(&self, name: &str) -> Option<&'static str> {
        if name.len() > MAX_KEY_LEN {
            return Some("at most 128 bytes are allowed");
        }
        let is_path = name.is_empty() || name.starts_with('/') || name == OTHER;
        match &self.0 {
            Source::Fixed(_) | Source::Template(_) | Source::From(_) => None,
            Source::Path if name == "*" => None,
            _ => (!is_path).then_some("must start with `/`, as all routes of this layer do"),
        }
    }

    /// Returns the route of every request, if there is only one.
    pub(crate) fn fixed_name(&self) -> Option<&'static str> {
        match self.0 {
            Source::Fixed(route) => Some(route),
            _ => None,
        }
    }
}

/// The route of a candidate: one that is too long for the table is cut, but
/// stays too long.
fn bounded(route: &str) -> &str {
    let end = (MAX_KEY_LEN + 1..route.len()).find(|end| route.is_char_boundary(*end));
    &route[..end.unwrap_or(route.len())]
}

impl Default for Route {
    /// axum's `MatchedPath` with the feature `axum`, otherwise the empty route.
    fn default() -> Self {
        #[cfg(feature = "axum")]
        return Self::matched_path();
        #[cfg(not(feature = "axum"))]
        Self::fixed("")
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(feature = "axum")]
            Source::MatchedPath => f.write_str("Route::matched_path()"),
            Source::Fixed(route) => write!(f, "Route::fixed({route:?})"),
            Source::Template(_) => f.write_str("Route::template(..)"),
            Source::Path => f.write_str("Route::path()"),
            Source::From(_) => f.write_str("Route::from_fn(..)"),
        }
    }
}

/// Where a request's route leads.
pub(crate) enum Found<R: Recorder> {
    Entry(&'static Entry<R>),
    /// There is no place left for it.
    Overflow,
    /// Made from what the client sent, and not seen before: it must prove
    /// itself by its answer.
    Candidate(Box<str>),
}

/// The value of a label that has no place left, and of a method outside the list.
pub(crate) const OTHER: &str = "_OTHER";

/// A method and route, resolved: all that a request in flight has to know of
/// its layer. Lives as long as the process.
pub(crate) struct Target<R: Recorder> {
    pub(crate) shared: &'static Shared<R>,
    pub(crate) series: R::Series,
    pub(crate) duration_to: DurationTo,
    /// Whether every response's head is looked at.
    pub(crate) looks_at_heads: bool,
    /// The method's place in the list.
    pub(crate) method: usize,
}

/// A route's settings and its targets by method.
pub(crate) struct Entry<R: Recorder> {
    route: &'static str,
    pub(crate) skip: bool,
    duration_to: DurationTo,
    by_method: Box<[OnceLock<Target<R>>]>,
    /// How often its text was found at an address that was not known.
    #[cfg(feature = "axum")]
    texts: AtomicUsize,
}

/// At how many addresses a route is remembered. One is enough for a router;
/// within a nested service the text is made anew for each request, and that
/// must not use up everybody's places.
#[cfg(feature = "axum")]
const MAX_TEXTS: usize = 8;

/// What a layer says of single routes.
#[derive(Debug, Default)]
pub(crate) struct RouteSettings {
    pub(crate) skip: Vec<String>,
    pub(crate) duration_to: DurationTo,
    pub(crate) route_duration_to: Vec<(String, DurationTo)>,
}

/// The routes that a layer has seen.
pub(crate) struct Routes<R: Recorder> {
    /// `GET` first: a method is found by a scan.
    methods: Vec<Method>,
    names: Vec<&'static str>,
    table: Table<Entry<R>>,
    #[cfg(feature = "axum")]
    matched: ByAddress<&'static Entry<R>>,
    fixed: OnceLock<&'static Entry<R>>,
    none: Entry<R>,
    other: Entry<R>,
    settings: RouteSettings,
}

impl<R: Recorder> Routes<R> {
    pub(crate) fn new(methods: Vec<Method>, max: usize, settings: RouteSettings) -> Self {
        let names = methods
            .iter()
            .map(|method| &*String::from(method.as_str()).leak())
            .chain([OTHER])
            .collect();
        let mut routes = Self {
            none: Entry::new("", &methods, &settings),
            other: Entry::new(OTHER, &methods, &settings),
            methods,
            names,
            table: Table::new(max + settings.skip.len()),
            #[cfg(feature = "axum")]
            matched: ByAddress::new(),
            fixed: OnceLock::new(),
            settings,
        };
        // Routes that are left out have their place from the start: made from
        // a path, the first request would be counted before it had one.
        for route in &routes.settings.skip {
            let _ = routes.take(route);
        }
        // A list of routes to leave out is about named routes: the overflow
        // must be counted.
        routes.other.skip = false;
        routes
    }

    /// The method's place in the list; the one after the last is `_OTHER`.
    #[inline]
    pub(crate) fn method(&self, method: &Method) -> usize {
        self.methods
            .iter()
            .position(|known| known == method)
            .unwrap_or(self.methods.len())
    }

    /// A route that has its place already.
    #[inline]
    pub(crate) fn known(&self, route: &str) -> Option<&Entry<R>> {
        if route.is_empty() {
            Some(&self.none)
        } else {
            self.table.get(route)
        }
    }

    /// A route, which takes a place where it is new; `Err` is the overflow.
    #[inline]
    pub(crate) fn take(&self, route: &str) -> Result<&Entry<R>, &Entry<R>> {
        if route.is_empty() {
            return Ok(&self.none);
        }
        self.table
            .get_or_add(route, || {
                Entry::new(String::from(route).leak(), &self.methods, &self.settings)
            })
            .ok_or(&self.other)
    }

    /// Where requests go that belong to no route.
    pub(crate) fn none(&self) -> &Entry<R> {
        &self.none
    }

    /// Where requests go whose route has no place (yet).
    pub(crate) fn other(&self) -> &Entry<R> {
        &self.other
    }
}

impl<R: Recorder> Shared<R> {
    /// What a request belongs to, where that is known without a look at the
    /// text of its route.
    #[inline(always)]
    pub(crate) fn known_target<B>(
        &'static self,
        request: &Request<B>,
    ) -> Option<&'static Target<R>> {
        let extensions = request.extensions();
        let entry = self.known_entry(extensions)?;
        if entry.skip || is_skipped(extensions) {
            return None;
        }
        entry.by_method[self.routes.method(request.method())].get()
    }

    #[inline(always)]
    #[cfg_attr(not(feature = "axum"), expect(unused_variables))]
    fn known_entry(&'static self, extensions: &Extensions) -> Option<&'static Entry<R>> {
        match &self.route.0 {
            #[cfg(feature = "axum")]
            Source::MatchedPath => match extensions.get() {
                Some(path) => self.routes.matched.get(path),
                None => Some(&self.routes.none),
            },
            Source::Fixed(_) => self.routes.fixed.get().copied(),
            Source::Template(_) | Source::Path | Source::From(_) => None,
        }
    }

    /// Where the route of a request leads.
    pub(crate) fn find(&'static self, head: &RequestHead<'_>, is_grpc: bool) -> Found<R> {
        if !is_grpc && let Some(entry) = self.known_entry(head.extensions) {
            return Found::Entry(entry);
        }
        let routes = &self.routes;
        let path = match &self.route.0 {
            _ if is_grpc => Cow::Borrowed(head.uri.path()),
            #[cfg(feature = "axum")]
            Source::MatchedPath => {
                let Some(path) = head.extensions.get::<MatchedPath>() else {
                    return Found::Entry(&routes.none);
                };
                return routes.take(path.as_str()).map_or(Found::Overflow, |entry| {
                    // Looked at first: a request must not write what threads share.
                    if entry.texts.load(Ordering::Relaxed) < MAX_TEXTS
                        && entry.texts.fetch_add(1, Ordering::Relaxed) < MAX_TEXTS
                    {
                        routes.matched.add(path, entry);
                    }
                    Found::Entry(entry)
                });
            }
            Source::Fixed(route) => {
                return routes.take(route).map_or(Found::Overflow, |entry| {
                    Found::Entry(routes.fixed.get_or_init(|| entry))
                });
            }
            Source::Template(template) => {
                let route = template(head).unwrap_or_default();
                return routes.take(route).map_or(Found::Overflow, Found::Entry);
            }
            Source::Path => Cow::Borrowed(head.uri.path()),
            Source::From(route) => route(head).unwrap_or_default(),
        };
        match routes.known(&path) {
            Some(entry) => Found::Entry(entry),
            // The method that a client calls is text of the program.
            None if is_grpc && self.side == Side::Client => {
                routes.take(&path).map_or(Found::Overflow, Found::Entry)
            }
            None => Found::Candidate(bounded(&path).into()),
        }
    }

    /// A method and a route, whose series is made where it is new.
    #[inline]
    pub(crate) fn target(
        &'static self,
        method: usize,
        entry: &'static Entry<R>,
    ) -> &'static Target<R> {
        entry.by_method[method].get_or_init(|| self.new_target(method, entry))
    }

    #[cold]
    fn new_target(&'static self, method: usize, entry: &Entry<R>) -> Target<R> {
        Target {
            shared: self,
            series: self.recorder.series(self.routes.names[method], entry.route),
            duration_to: entry.duration_to,
            looks_at_heads: self.time_to_head
                || !self.labels.is_empty()
                || entry.duration_to == DurationTo::Head,
            method,
        }
    }
}

/// Whether a layer outside has left this one request out, or an answer its route.
#[inline(always)]
pub(crate) fn is_skipped(extensions: &Extensions) -> bool {
    !extensions.is_empty() && extensions.get::<Skip>().is_some()
}

impl<R: Recorder> Entry<R> {
    fn new(route: &'static str, methods: &[Method], settings: &RouteSettings) -> Self {
        Self {
            route,
            skip: settings.skip.iter().any(|skip| skip == route),
            duration_to: settings
                .route_duration_to
                .iter()
                .rfind(|(named, _)| named == route)
                .map_or(settings.duration_to, |(_, to)| *to),
            by_method: (0..=methods.len()).map(|_| OnceLock::new()).collect(),
            #[cfg(feature = "axum")]
            texts: AtomicUsize::new(0),
        }
    }
}

#[cfg(all(test, feature = "axum", feature = "prometheus"))]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower_service::Service;

    use super::*;
    use crate::prometheus::Prometheus;

    fn shared() -> &'static Shared<Prometheus> {
        Box::leak(Box::new(Shared {
            recorder: Prometheus::new(),
            route: Route::matched_path(),
            routes: Routes::new(vec![Method::GET], 10, RouteSettings::default()),
            labels: Vec::new(),
            grpc: false,
            side: Side::Server,
            trace_id: None,
            time_to_head: false,
            asks: false,
            counts_request_bytes: false,
        }))
    }

    /// The paths that a router has matched for so many requests to `/api/1`.
    fn matched(requests: usize, router: impl Fn(Router) -> Router) -> Vec<Extensions> {
        let (sender, receiver) = mpsc::channel();
        let handler = move |path: MatchedPath| {
            let sent = sender.send(path);
            async move { sent.expect("the receiver is in this function") }
        };
        let mut app = router(Router::new().route("/{id}", get(handler))).with_state(());
        for _ in 0..requests {
            let request = Request::get("/api/1").body(Body::empty()).unwrap();
            let mut future = Service::<Request<Body>>::call(&mut app, request);
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_ready());
        }
        let paths = receiver.try_iter().map(|path| {
            assert_eq!(path.as_str(), "/api/{id}");
            let mut extensions = Extensions::new();
            extensions.insert(path);
            extensions
        });
        paths.collect()
    }

    fn find(shared: &'static Shared<Prometheus>, extensions: &Extensions) {
        let request = Request::new(());
        let head = RequestHead {
            extensions,
            ..RequestHead::from(&request)
        };
        let Found::Entry(entry) = shared.find(&head, false) else {
            panic!("there is room for one route");
        };
        assert_eq!(entry.route, "/api/{id}");
    }

    #[test]
    fn a_routers_own_text_is_found_without_being_read() {
        let shared = shared();
        let paths = matched(2, |users| Router::new().nest("/api", users));
        assert!(shared.known_entry(&paths[0]).is_none());
        find(shared, &paths[0]);
        assert!(shared.known_entry(&paths[1]).is_some());
    }

    #[test]
    fn the_fresh_texts_of_a_nested_service_take_few_places_and_are_found_all_the_same() {
        let shared = shared();
        // Kept, so that no two of them have the same address.
        let paths = matched(100, |users| Router::new().nest_service("/api", users));
        for path in &paths {
            find(shared, path);
        }
        let remembered = paths
            .iter()
            .filter(|path| shared.known_entry(path).is_some());
        let remembered = remembered.count();
        assert!((1..=MAX_TEXTS).contains(&remembered), "{remembered}");
    }
}
