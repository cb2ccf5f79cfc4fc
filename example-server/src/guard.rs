//! Authorization of requests that change the server: concerts, faults and the commit mode.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::body::single_value;
use crate::config::AdminToken;
use crate::problem::Problem;

/// Decides which requests may change the server.
#[derive(Clone)]
pub(crate) enum Guard {
    /// Without a token and with both ports on loopback: requests from this machine, which are those
    /// whose `Host` is `localhost` or an IP address.
    ///
    /// Any other name may be one that an attacker's DNS server resolves to 127.0.0.1, so that a
    /// browser on this machine sends the requests of the attacker's page here (DNS rebinding).
    Local,
    /// Requests that carry the token.
    Token(Arc<str>),
    /// Without a token and with a port that is reachable from other machines: no request.
    Disabled,
}

impl Guard {
    /// Selects the rule for a server whose API and ops port listen on `addresses`.
    pub(crate) fn new(token: Option<&AdminToken>, addresses: [SocketAddr; 2]) -> Self {
        let is_loopback = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        match token {
            Some(token) => Self::Token(token.as_str().into()),
            None if addresses.iter().all(is_loopback) => Self::Local,
            None => {
                let [api, ops] = addresses;
                tracing::warn!(%api, %ops, "changes are disabled: set --admin-token, or listen on loopback addresses only");
                Self::Disabled
            }
        }
    }

    /// # Errors
    ///
    /// Returns the response to a request that may not change the server.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Problem> {
        match self {
            Self::Local if is_local(parts) => Ok(()),
            Self::Local => Err(Problem::host_not_allowed()),
            Self::Token(token) if has_token(parts, token) => Ok(()),
            Self::Token(_) => Err(Problem::unauthorized()),
            Self::Disabled => Err(Problem::changes_disabled()),
        }
    }
}

/// Compares in constant time, so that response times reveal nothing about the token.
fn has_token(parts: &Parts, token: &str) -> bool {
    let sent = single_value(&parts.headers, &header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    sent.is_some_and(|(_, sent)| sent.ct_eq(token.as_bytes()).into())
}

fn is_local(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (parts.uri.authority(), hosts.next(), hosts.next()) {
        (None, Some(host), None) => authority(host).is_some_and(|host| is_local_host(&host)),
        // Absolute form, and HTTP/2.
        (Some(target), None, None) => is_local_host(target),
        (Some(target), Some(host), None) => {
            is_local_host(target) && authority(host).is_some_and(|host| is_local_host(&host))
        }
        _ => false,
    }
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    host.to_str().ok()?.parse().ok()
}

fn is_local_host(authority: &Authority) -> bool {
    let host = authority.host();
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || literal.parse::<IpAddr>().is_ok()
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "Local",
            Self::Token(_) => "Token(..)",
            Self::Disabled => "Disabled",
        })
    }
}

/// Extractor that rejects requests which may not change the server.
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
    use http::request::Builder;

    use super::*;

    fn guard(token: Option<&str>, api: &str, ops: &str) -> Guard {
        let token = token.map(|token| AdminToken::parse(token).unwrap());
        Guard::new(token.as_ref(), [api.parse().unwrap(), ops.parse().unwrap()])
    }

    fn allows(guard: &Guard, request: Builder) -> bool {
        guard
            .check(&request.body(()).unwrap().into_parts().0)
            .is_ok()
    }

    fn to_host(host: &str) -> Builder {
        Request::put("/faults").header(header::HOST, host)
    }

    #[test]
    fn a_token_admits_only_requests_that_carry_it() {
        let guard = guard(Some("s3cret"), "0.0.0.0:1", "0.0.0.0:2");
        let request = |value: &str| to_host("shop.example").header(header::AUTHORIZATION, value);
        assert!(allows(&guard, request("Bearer s3cret")));
        assert!(allows(&guard, request("bearer s3cret")));
        for other in [
            "Bearer s3cre",
            "Bearer s3cret1",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!allows(&guard, request(other)), "{other}");
        }
        assert!(!allows(&guard, to_host("localhost")));
        let repeated = request("Bearer s3cret").header(header::AUTHORIZATION, "Bearer other");
        assert!(!allows(&guard, repeated));
    }

    #[test]
    fn without_a_token_changes_require_both_ports_on_loopback() {
        for (api, ops, allowed) in [
            ("127.0.0.1:1", "127.0.0.1:2", true),
            ("127.8.0.1:1", "[::1]:2", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:2", true),
            ("0.0.0.0:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "0.0.0.0:2", false),
            ("[::]:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "192.168.0.2:2", false),
        ] {
            let guard = guard(None, api, ops);
            assert_eq!(
                allows(&guard, to_host("localhost")),
                allowed,
                "{api} and {ops}"
            );
        }
    }

    #[test]
    fn without_a_token_a_host_name_that_dns_may_rebind_is_rejected() {
        let guard = guard(None, "127.0.0.1:1", "127.0.0.1:2");
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1:9464",
            "[::1]:9464",
            "192.168.0.2",
        ] {
            assert!(allows(&guard, to_host(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "",
        ] {
            assert!(!allows(&guard, to_host(host)), "{host}");
        }
        assert!(!allows(&guard, Request::put("/faults")));
        let twice = to_host("localhost").header(header::HOST, "evil.example");
        assert!(!allows(&guard, twice));
        let absolute = Request::put("http://evil.example/faults").header(header::HOST, "localhost");
        assert!(!allows(&guard, absolute));
        assert!(allows(&guard, Request::put("http://[::1]:1/faults")));
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        let guard = guard(Some("s3cret"), "127.0.0.1:1", "127.0.0.1:2");
        assert!(!format!("{guard:?}").contains("s3cret"));
    }
}
