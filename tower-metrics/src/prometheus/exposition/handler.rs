//! Exposition as an axum handler.

use std::future::{Ready, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;

use super::Exposition;

/// Allows `get(prometheus.exposition())` in routers with any state.
impl<S> Handler<(), S> for Exposition {
    type Future = Ready<Response>;

    fn call(self, request: Request, _: S) -> Self::Future {
        let response = self.respond(request.method(), request.uri(), request.headers());
        ready(response.map(Body::new))
    }
}
