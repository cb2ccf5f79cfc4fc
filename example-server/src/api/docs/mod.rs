//! The documentation page: Swagger UI, and the problem types, to which the `type` of problems links.
//! Everything is embedded in the binary.

use std::io::Read;
use std::sync::{LazyLock, OnceLock};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{Html, IntoResponse, Response};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::openapi::responses::{Failures, NotFound};
use super::parameter::path_text;
use crate::problem::{self, Problem};
use crate::security;

/// Swagger UI sets styles from scripts. Its script sends requests, to this server only.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Browsers check whether a file has changed, because its name has no version.
const NO_CACHE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("page.html").replace("{{problem types}}", &problem::table::html())
});

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    content: Content,
}

enum Content {
    Text(&'static str),
    Gzip(Gzip),
}

/// A compressed file, and its text once a client without support for gzip has requested it. Responses
/// share both: clients that do not read would otherwise hold a copy each.
struct Gzip {
    bytes: &'static [u8],
    text: OnceLock<Vec<u8>>,
}

impl Gzip {
    const fn new(bytes: &'static [u8]) -> Self {
        Self {
            bytes,
            text: OnceLock::new(),
        }
    }

    fn text(&self) -> &[u8] {
        self.text.get_or_init(|| {
            let mut text = Vec::new();
            let read = GzDecoder::new(self.bytes).read_to_end(&mut text);
            read.expect("the build wrote a gzip file");
            text
        })
    }
}

static FILES: [File; 4] = [
    File {
        name: "page.css",
        content_type: "text/css; charset=utf-8",
        content: Content::Text(include_str!("page.css")),
    },
    File {
        name: "page.js",
        content_type: "text/javascript; charset=utf-8",
        content: Content::Text(include_str!("page.js")),
    },
    File {
        name: "swagger-ui.css",
        content_type: "text/css; charset=utf-8",
        content: Content::Gzip(Gzip::new(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui.css.gz"
        )))),
    },
    File {
        name: "swagger-ui-bundle.js",
        content_type: "text/javascript; charset=utf-8",
        content: Content::Gzip(Gzip::new(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/swagger-ui-bundle.js.gz"
        )))),
    },
];

/// `GET /docs`
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documentation",
    operation_id = "readDocumentation",
    summary = "Get the documentation page",
    responses(
        (status = 200, description = "An HTML page that renders the OpenAPI document.", body = String, content_type = "text/html"),
        Failures,
    ),
)]
pub(super) async fn page() -> impl IntoResponse {
    (
        [(header::CONTENT_SECURITY_POLICY, POLICY), NO_CACHE],
        security::PAGE,
        Html(PAGE.as_str()),
    )
}

/// `GET /docs/{file}`
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "documentation",
    operation_id = "readDocumentationFile",
    summary = "Get a file of the documentation page",
    params(("file" = String, Path, description = "Name of the file.")),
    responses(
        (status = 200, description = "A style sheet or a script.", content(
            (String = "text/css"),
            (String = "text/javascript"),
        )),
        NotFound,
        Failures,
    ),
)]
pub(super) async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let name = path_text("file", name)?;
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Err(problem::not_found(uri).await);
    };
    let content_type = [(header::CONTENT_TYPE, file.content_type), NO_CACHE];
    let gzip = (header::CONTENT_ENCODING, "gzip");
    let vary = (header::VARY, "accept-encoding");
    Ok(match &file.content {
        Content::Text(text) => (content_type, *text).into_response(),
        Content::Gzip(file) if accepts_gzip(&headers) => {
            (content_type, [gzip, vary], file.bytes).into_response()
        }
        Content::Gzip(file) => (content_type, [vary], file.text()).into_response(),
    })
}

fn accepts_gzip(headers: &HeaderMap<HeaderValue>) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=");
        let refused = weight.and_then(|weight| weight.parse().ok()) == Some(0.0);
        ["gzip", "*"].contains(&name.trim()) && !refused
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn responses_share_the_bytes_of_a_file() {
        for coding in ["gzip", "identity"] {
            let body = async || {
                let coding = [(header::ACCEPT_ENCODING, HeaderValue::from_static(coding))];
                let name = Ok(Path("swagger-ui-bundle.js".to_owned()));
                let response = file(name, HeaderMap::from_iter(coding), Uri::default());
                let body = response.await.unwrap().into_body();
                body.collect().await.unwrap().to_bytes()
            };
            let (first, second) = (body().await, body().await);
            assert!(first.len() > 100_000);
            assert_eq!(first.as_ptr(), second.as_ptr(), "{coding}");
        }
    }

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        for (value, accepted) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT_ENCODING, HeaderValue::from_static(value))];
            assert_eq!(
                accepts_gzip(&HeaderMap::from_iter(headers)),
                accepted,
                "{value:?}"
            );
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
