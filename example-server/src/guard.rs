//! Who may change the server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::header;
use http::request::Parts;
use subtle::ConstantTimeEq;

use crate::api::problem::Problem;

/// Guards what changes things: concerts, faults, the way of committing.
#[derive(Clone)]
pub(crate) enum Guard {
    /// Anyone may: the ops port is on loopback and no token is set.
    Open,
    /// Whoever has the token.
    Token(Arc<str>),
    /// Nobody: the ops port listens beyond loopback and no token is set.
    Closed,
}

impl Guard {
    pub(crate) fn new(token: Option<&str>, ops: SocketAddr) -> Self {
        match token {
            Some(token) => Self::Token(token.into()),
            None if ops.ip().to_canonical().is_loopback() => Self::Open,
            None => Self::Closed,
        }
    }

    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Problem> {
        let token = match self {
            Self::Open => return Ok(()),
            Self::Closed => return Err(Problem::forbidden()),
            Self::Token(token) => token,
        };
        let sent = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, token)| token);
        // In constant time: how long a refusal takes tells nothing about the token.
        match sent {
            Some(sent) if bool::from(sent.ct_eq(token.as_bytes())) => Ok(()),
            _ => Err(Problem::unauthorized()),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Token(_) => "Token",
            Self::Closed => "Closed",
        })
    }
}

/// The request may change the server. An extractor that refuses all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authorized;

impl<S> FromRequestParts<S> for Authorized
where
    Guard: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Guard::from_ref(state).check(parts).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn allows(guard: &Guard, authorization: Option<&str>) -> bool {
        let mut request = Request::new(());
        if let Some(value) = authorization {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        guard.check(&request.into_parts().0).is_ok()
    }

    #[test]
    fn a_token_lets_in_only_those_who_send_it() {
        let guard = Guard::new(Some("s3cret"), "127.0.0.1:1".parse().unwrap());
        assert!(allows(&guard, Some("Bearer s3cret")));
        assert!(allows(&guard, Some("bearer s3cret")));
        for other in [
            "Bearer s3cre",
            "Bearer s3cret1",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!allows(&guard, Some(other)), "{other}");
        }
        assert!(!allows(&guard, None));
    }

    #[test]
    fn without_a_token_only_loopback_is_open() {
        for (ops, open) in [
            ("127.0.0.1:1", true),
            ("127.8.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.0.2:1", false),
        ] {
            assert_eq!(
                allows(&Guard::new(None, ops.parse().unwrap()), None),
                open,
                "{ops}"
            );
        }
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let guard = Guard::new(Some("s3cret"), "127.0.0.1:1".parse().unwrap());
        assert!(!format!("{guard:?}").contains("s3cret"));
    }
}
