//! Routes of requests, and what applies to single routes.

use std::borrow::Cow;
use std::fmt;

use http::Extensions;

use crate::head::RequestHead;
use crate::label::OTHER;
use crate::table::MAX_KEY_LEN;

/// Marker that excludes a request from the metrics.
///
/// Insert it into the extensions of a response to exclude the route that produces
/// it:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Extension, Router, routing::get};
/// use tower_metrics::Skip;
///
/// let app: Router = Router::new().route("/healthz", get(|| async { (Extension(Skip), "ok") }));
/// # }
/// ```
///
/// A request that is dropped before its response head is still recorded as
/// `cancelled`. Insert the marker into the extensions of a request, in an outer
/// layer, to exclude that request however it ends.
///
/// [`MetricsLayerBuilder::skip`](crate::MetricsLayerBuilder::skip) excludes routes by
/// name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip;

/// Returns whether the extensions contain [`Skip`].
#[inline(always)]
pub(crate) fn is_skipped(extensions: &Extensions) -> bool {
    !extensions.is_empty() && extensions.get::<Skip>().is_some()
}

/// Start of the duration of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurationFrom {
    /// At the request head, when the service is called.
    #[default]
    Head,
    /// When the service last read from the request body. The time that a client takes
    /// to upload the body is not part of the duration.
    Body,
}

/// End of the duration of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurationTo {
    /// At the response head: the time that the server takes to respond.
    Head,
    /// At the end of the response body: the time that the user waits.
    #[default]
    Body,
}

type RouteFn = dyn for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync;
type TemplateFn = dyn Fn(&RequestHead<'_>) -> Option<&'static str> + Send + Sync;

/// Source of the route of a request.
///
/// A route is a template such as `/users/{id}`, not a path: clients can make up any
/// number of paths. Routes of more than 128 bytes are recorded as `_OTHER`.
pub struct Route(pub(crate) Source);

pub(crate) enum Source {
    #[cfg(feature = "axum")]
    MatchedPath,
    Fixed(&'static str),
    Template(Box<TemplateFn>),
    Path,
    From(Box<RouteFn>),
}

impl Route {
    /// Uses axum's [`MatchedPath`](axum::extract::MatchedPath), or the empty route if
    /// there is none.
    ///
    /// The path is known inside `Router::layer` and `Router::route_layer`, but not
    /// around a whole `Router`. This is the default with the feature `axum`.
    #[cfg(feature = "axum")]
    pub const fn matched_path() -> Self {
        Self(Source::MatchedPath)
    }

    /// Uses the same route for every request.
    ///
    /// Suitable for a service with a single route, and for a layer around one route.
    pub const fn fixed(route: &'static str) -> Self {
        Self(Source::Fixed(route))
    }

    /// Uses the template that a function returns, or the empty route for `None`.
    ///
    /// Suitable for custom routers, and for clients, which know the template that a
    /// request was built from. Because a template is part of the program, it gets a
    /// slot regardless of the response.
    ///
    /// A panic of the function unwinds through the service, and the request is
    /// recorded as `panic` with the empty route.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_metrics::Route;
    /// /// Inserted into the extensions of each request.
    /// #[derive(Clone, Copy)]
    /// struct UrlTemplate(&'static str);
    ///
    /// let route = Route::template(|head| head.extensions.get().map(|UrlTemplate(url)| *url));
    /// ```
    pub fn template<F>(template: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<&'static str> + Send + Sync + 'static,
    {
        Self(Source::Template(Box::new(template)))
    }

    /// Uses the path of the request.
    ///
    /// Suitable only if the server has a fixed set of paths. A path gets a slot as
    /// described at [`from_fn`](Self::from_fn).
    pub fn path() -> Self {
        Self(Source::Path)
    }

    /// Uses the route that a function returns, or the empty route for `None`.
    ///
    /// A route that has not been seen before gets a slot only if the response proves
    /// that it exists: by a 2xx or 101, and for gRPC by a message or the status `OK`.
    /// A response that any path may get, such as a redirect, a rejection or a 404, is
    /// recorded with the empty route, so that a scanner cannot use up the slots, and
    /// so is an `OPTIONS` request, to which a CORS layer responds for any path. A
    /// request without a response is recorded as `_OTHER`. Name routes with
    /// [`initialize`](crate::MetricsLayerBuilder::initialize) to give them a slot in
    /// advance.
    ///
    /// A panic of the function unwinds through the service, and the request is
    /// recorded as `panic` with the empty route.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_metrics::Route;
    /// let first_segment = Route::from_fn(|head| {
    ///     let path = head.uri.path();
    ///     let end = path[1..].find('/').map_or(path.len(), |end| end + 1);
    ///     Some(path[..end].into())
    /// });
    /// ```
    pub fn from_fn<F>(route: F) -> Self
    where
        F: for<'a> Fn(&RequestHead<'a>) -> Option<Cow<'a, str>> + Send + Sync + 'static,
    {
        Self(Source::From(Box::new(route)))
    }

    /// Returns why no request can have this route, if none can.
    pub(crate) fn reject(&self, route: &str) -> Option<&'static str> {
        if route.len() > MAX_KEY_LEN {
            return Some("at most 128 bytes are allowed");
        }
        let is_path = match &self.0 {
            Source::Fixed(_) | Source::Template(_) | Source::From(_) => true,
            Source::Path if route == "*" => true,
            _ => route.is_empty() || route.starts_with('/') || route == OTHER,
        };
        (!is_path).then_some("must start with `/`, as all routes of this layer do")
    }

    /// Returns the route of every request, if there is only one.
    pub(crate) fn as_fixed(&self) -> Option<&'static str> {
        match self.0 {
            Source::Fixed(route) => Some(route),
            _ => None,
        }
    }
}

impl Default for Route {
    /// Returns `Route::matched_path()` with the feature `axum`, and otherwise
    /// `Route::fixed("")`.
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
