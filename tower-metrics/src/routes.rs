//! Routes that a layer has seen.

use std::sync::OnceLock;
#[cfg(feature = "axum")]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "axum")]
use axum::extract::MatchedPath;
use http::Method;

use crate::label::OTHER;
#[cfg(feature = "axum")]
use crate::matched_path_cache::MatchedPathCache;
use crate::route::DurationTo;
use crate::table::Table;

/// Number of cached addresses per route.
///
/// One is enough for a router. Inside a nested service, axum allocates a new text for
/// each request, which must not use up the cache.
#[cfg(feature = "axum")]
const MAX_CACHED_PATHS: usize = 8;

/// Methods whose positions are known without comparing names. They are the first positions.
const STANDARD: [Method; 9] = [
    Method::OPTIONS,
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::TRACE,
    Method::CONNECT,
    Method::PATCH,
];

/// Returns the position of a method in [`STANDARD`].
#[inline(always)]
pub(crate) fn standard(method: &Method) -> Option<usize> {
    Some(match *method {
        Method::OPTIONS => 0,
        Method::GET => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::HEAD => 5,
        Method::TRACE => 6,
        Method::CONNECT => 7,
        Method::PATCH => 8,
        _ => return None,
    })
}

/// Settings of single routes.
#[derive(Debug, Default)]
pub(crate) struct RouteSettings {
    pub(crate) skip: Vec<String>,
    pub(crate) duration_to: DurationTo,
    pub(crate) route_duration_to: Vec<(String, DurationTo)>,
}

/// Route with its settings, and a target for each method.
pub(crate) struct Entry<T> {
    pub(crate) route: &'static str,
    pub(crate) is_skipped: bool,
    pub(crate) duration_to: DurationTo,
    /// Targets of the [`STANDARD`] methods that are recorded individually.
    pub(crate) standard: [OnceLock<T>; STANDARD.len()],
    /// Targets of the methods that only this layer records individually, and of all others.
    others: Box<[OnceLock<T>]>,
    #[cfg(feature = "axum")]
    cached_paths: AtomicUsize,
}

impl<T> Entry<T> {
    fn new(route: &'static str, others: usize, settings: &RouteSettings) -> Self {
        Self {
            route,
            is_skipped: settings.skip.iter().any(|skipped| skipped == route),
            duration_to: settings
                .route_duration_to
                .iter()
                .rfind(|(named, _)| named == route)
                .map_or(settings.duration_to, |(_, to)| *to),
            standard: [const { OnceLock::new() }; STANDARD.len()],
            others: (0..others).map(|_| OnceLock::new()).collect(),
            #[cfg(feature = "axum")]
            cached_paths: AtomicUsize::new(0),
        }
    }

    /// Returns the entry unless its requests are excluded.
    #[inline(always)]
    pub(crate) fn unless_skipped(&self) -> Option<&Self> {
        (!self.is_skipped).then_some(self)
    }

    /// Returns the target of the method at a position.
    pub(crate) fn target(&self, method: usize) -> &OnceLock<T> {
        match method.checked_sub(STANDARD.len()) {
            None => &self.standard[method],
            Some(other) => &self.others[other],
        }
    }
}

/// Routes and methods of a layer.
pub(crate) struct Routes<T: 'static> {
    /// `true` for a [`STANDARD`] method that is recorded individually.
    records_standard: [bool; STANDARD.len()],
    /// Other methods recorded individually, at the positions that follow.
    methods: Vec<Method>,
    /// Names of the methods by position, followed by that of all others.
    method_names: Vec<&'static str>,
    /// References, because the table reserves space for entries to come.
    table: Table<&'static Entry<T>>,
    #[cfg(feature = "axum")]
    matched_paths: MatchedPathCache<&'static Entry<T>>,
    /// Entry of a fixed route.
    pub(crate) fixed: OnceLock<&'static Entry<T>>,
    /// Entry of requests without a route.
    pub(crate) none: Entry<T>,
    /// Entry of requests whose route has no slot.
    pub(crate) other: Entry<T>,
    settings: RouteSettings,
}

impl<T> Routes<T> {
    pub(crate) fn new(methods: Vec<Method>, max: usize, settings: RouteSettings) -> Self {
        let records_standard = STANDARD.map(|method| methods.contains(&method));
        let methods: Vec<_> = methods
            .into_iter()
            .filter(|method| standard(method).is_none())
            .collect();
        let method_names: Vec<_> = STANDARD
            .iter()
            .chain(&methods)
            .map(|method| &*String::from(method.as_str()).leak())
            .chain([OTHER])
            .collect();
        let others = methods.len() + 1;
        let mut other = Entry::new(OTHER, others, &settings);
        // Requests beyond the limit are always counted.
        other.is_skipped = false;
        let routes = Self {
            none: Entry::new("", others, &settings),
            other,
            records_standard,
            methods,
            method_names,
            table: Table::new(max.saturating_add(settings.skip.len())),
            #[cfg(feature = "axum")]
            matched_paths: MatchedPathCache::new(),
            fixed: OnceLock::new(),
            settings,
        };
        // Skipped routes have a slot in advance. Otherwise the first request would be
        // recorded if the route is taken from a path.
        for route in &routes.settings.skip {
            let _ = routes.get_or_insert(route);
        }
        routes
    }

    /// Returns the position of a method, which is that of `_OTHER` if it is not
    /// recorded individually.
    pub(crate) fn method(&self, method: &Method) -> usize {
        match standard(method) {
            Some(at) if self.records_standard[at] => at,
            _ => {
                let at = self.methods.iter().position(|known| known == method);
                STANDARD.len() + at.unwrap_or(self.methods.len())
            }
        }
    }

    pub(crate) fn method_name(&self, method: usize) -> &'static str {
        self.method_names[method]
    }

    /// Returns the entry of a route that has a slot.
    #[inline]
    pub(crate) fn get(&self, route: &str) -> Option<&Entry<T>> {
        if route.is_empty() {
            Some(&self.none)
        } else {
            self.table.get(route).copied()
        }
    }

    /// Returns the entry of a route, or `None` if it is new and beyond the limit.
    #[inline]
    pub(crate) fn get_or_insert(&self, route: &str) -> Option<&Entry<T>> {
        if route.is_empty() {
            return Some(&self.none);
        }
        let entry = self.table.get_or_insert(route, || {
            let others = self.methods.len() + 1;
            let route = String::from(route).leak();
            Box::leak(Box::new(Entry::new(route, others, &self.settings)))
        });
        entry.copied()
    }

    /// Returns the entry of a path whose address is cached.
    #[cfg(feature = "axum")]
    #[inline(always)]
    pub(crate) fn cached(&self, path: &MatchedPath) -> Option<&'static Entry<T>> {
        self.matched_paths.get(path)
    }

    /// Returns the entry of a path by its text, and caches its address unless the route is
    /// skipped.
    #[cfg(feature = "axum")]
    pub(crate) fn cache(&'static self, path: &MatchedPath) -> Option<&'static Entry<T>> {
        let entry = self.get_or_insert(path.as_str())?;
        if entry.is_skipped {
            return Some(entry);
        }
        // The load avoids writing to a shared cache line for each request.
        if entry.cached_paths.load(Ordering::Relaxed) < MAX_CACHED_PATHS
            && entry.cached_paths.fetch_add(1, Ordering::Relaxed) < MAX_CACHED_PATHS
        {
            self.matched_paths.insert(path, entry);
        }
        Some(entry)
    }
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::Request;
    use tower_service::Service;

    use super::*;

    fn routes() -> &'static Routes<()> {
        let routes = Routes::new(vec![Method::GET], 10, RouteSettings::default());
        Box::leak(Box::new(routes))
    }

    /// Returns the paths that a router matches for this many requests to `/api/1`.
    fn matched(requests: usize, router: impl Fn(Router) -> Router) -> Vec<MatchedPath> {
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
        receiver.try_iter().collect()
    }

    #[test]
    fn a_method_has_its_own_name_if_it_is_in_the_list() {
        let query = Method::from_bytes(b"QUERY").unwrap();
        for methods in [
            vec![Method::GET],
            vec![query.clone(), Method::PATCH, Method::HEAD],
            STANDARD.into(),
        ] {
            let routes = Routes::<()>::new(methods.clone(), 10, RouteSettings::default());
            for method in STANDARD.iter().chain([&query]) {
                let name = routes.method_name(routes.method(method));
                let is_listed = methods.contains(method);
                assert_eq!(name, if is_listed { method.as_str() } else { OTHER });
            }
        }
    }

    #[test]
    fn the_path_of_a_router_is_cached_by_its_address() {
        let routes = routes();
        let paths = matched(2, |users| Router::new().nest("/api", users));
        assert!(routes.cached(&paths[0]).is_none());
        assert_eq!(routes.cache(&paths[0]).unwrap().route, "/api/{id}");
        assert_eq!(routes.cached(&paths[1]).unwrap().route, "/api/{id}");
    }

    #[test]
    fn the_paths_of_a_nested_service_do_not_use_up_the_cache() {
        let routes = routes();
        // All are kept, so that no two of them have the same address.
        let paths = matched(100, |users| Router::new().nest_service("/api", users));
        for path in &paths {
            assert_eq!(routes.cache(path).unwrap().route, "/api/{id}");
        }
        let cached = paths.iter().filter(|path| routes.cached(path).is_some());
        let cached = cached.count();
        assert!((1..=MAX_CACHED_PATHS).contains(&cached), "{cached}");
    }
}
