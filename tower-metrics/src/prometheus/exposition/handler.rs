//! The exposition as an axum handler.

use std::future::{Ready, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;

use super::Exposition;

/// For `get(prometheus.exposition())`, whatever the router's state.
impl<S> Handler<(), S> for Exposition {
    type Future = Ready<Response>;

    fn call(self, request: Request, _: S) -> Self::Future {
        ready(self.answer(&request).map(Body::new))
    }
}
