//! Which route a request belongs to.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use http::Method;

use crate::head::RequestHead;
use crate::layer::DurationTo;
use crate::table::Table;

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
    /// its place whatever the answer is.
    pub fn template<F>(template: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<&'static str> + Send + Sync + 'static,
    {
        Self(Source::Template(Box::new(template)))
    }

    /// The request's path. Only for paths that the server itself bounds, such
    /// as gRPC's `/package.Service/Method`.
    pub fn path() -> Self {
        Self::from_fn(|head| Some(head.uri.path().into()))
    }

    /// A function's answer; `None` is the empty route.
    ///
    /// A new route takes one of the layer's places only when its answer is
    /// neither 404 nor gRPC's `UNIMPLEMENTED`, so that a scanner cannot use
    /// them up.
    pub fn from_fn<F>(route: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self(Source::From(Box::new(route)))
    }

    /// The route of a request, and whether it must prove itself by its answer.
    pub(crate) fn of<'a>(&'a self, head: &RequestHead<'a>) -> Found<'a> {
        match &self.0 {
            #[cfg(feature = "axum")]
            Source::MatchedPath => Found::Template(
                head.extensions
                    .get::<axum::extract::MatchedPath>()
                    .map_or("", |path| path.as_str()),
            ),
            Source::Fixed(route) => Found::Template(route),
            Source::Template(template) => Found::Template(template(head).unwrap_or_default()),
            Source::From(route) => Found::Path(route(head).unwrap_or_default()),
        }
    }
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
            Source::From(_) => f.write_str("Route::from_fn(..)"),
        }
    }
}

/// A request's route as its source gives it.
pub(crate) enum Found<'a> {
    /// A template out of the program.
    Template(&'a str),
    /// Made from what the client sent.
    Path(Cow<'a, str>),
}

/// The value of a label that has no place left, and of a method outside the list.
pub(crate) const OTHER: &str = "_OTHER";

/// A route's settings and its series by method.
#[derive(Debug)]
pub(crate) struct Entry<S> {
    pub(crate) route: &'static str,
    pub(crate) skip: bool,
    pub(crate) duration_to: DurationTo,
    by_method: Box<[OnceLock<S>]>,
}

/// What a layer says of single routes.
#[derive(Debug, Default)]
pub(crate) struct RouteSettings {
    pub(crate) skip: Vec<String>,
    pub(crate) duration_to: DurationTo,
    pub(crate) route_duration_to: Vec<(String, DurationTo)>,
}

/// The routes that a layer has seen.
#[derive(Debug)]
pub(crate) struct Routes<S> {
    /// `GET` first: a method is found by a scan.
    methods: Vec<Method>,
    names: Vec<&'static str>,
    table: Table<Entry<S>>,
    none: Entry<S>,
    other: Entry<S>,
    settings: RouteSettings,
}

impl<S: Copy> Routes<S> {
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
    pub(crate) fn method(&self, method: &Method) -> usize {
        self.methods
            .iter()
            .position(|known| known == method)
            .unwrap_or(self.methods.len())
    }

    /// A route that has its place already.
    pub(crate) fn known(&self, route: &str) -> Option<&Entry<S>> {
        if route.is_empty() {
            Some(&self.none)
        } else {
            self.table.get(route)
        }
    }

    /// A route, which takes a place where it is new; `Err` is the overflow.
    pub(crate) fn take(&self, route: &str) -> Result<&Entry<S>, &Entry<S>> {
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
    pub(crate) fn none(&self) -> &Entry<S> {
        &self.none
    }

    /// Where requests go whose route has no place (yet).
    pub(crate) fn other(&self) -> &Entry<S> {
        &self.other
    }

    /// The series of a method and a route; `make` is asked once for each.
    pub(crate) fn series(
        &self,
        method: usize,
        entry: &Entry<S>,
        make: impl FnOnce(&'static str, &'static str) -> S,
    ) -> S {
        *entry.by_method[method].get_or_init(|| make(self.names[method], entry.route))
    }
}

impl<S> Entry<S> {
    fn new(route: &'static str, methods: &[Method], settings: &RouteSettings) -> Self {
        Self {
            route,
            skip: settings.skip.iter().any(|skip| skip == route),
            duration_to: settings
                .route_duration_to
                .iter()
                .find(|(named, _)| named == route)
                .map_or(settings.duration_to, |(_, to)| *to),
            by_method: (0..=methods.len()).map(|_| OnceLock::new()).collect(),
        }
    }
}
