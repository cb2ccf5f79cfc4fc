//! The `faults` command, which shows and changes the injected faults of a running server.

use std::io;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use ticket_core::policy::Document;

use crate::config::{self, AdminToken, FaultsAction};
use crate::traffic::client::{Client, RequestError, Response};
use crate::{faults_file, output};

/// Response headers that describe the active document.
const HEADERS: [&str; 3] = ["faults-name", "faults-source", "faults-expires-at"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no response from {url}")]
    Unreachable {
        url: http::Uri,
        source: RequestError,
    },
    #[error("{status}: {detail}")]
    Status { status: StatusCode, detail: String },
    #[error("{name:?} is neither a preset ({presets}) nor a readable file")]
    UnknownSource {
        name: String,
        presets: String,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    File(#[from] faults_file::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Runs the command and prints its result.
///
/// # Errors
///
/// Returns an error if the server does not respond with success, or if the document cannot be read
/// or is invalid.
pub(crate) async fn run(options: config::Faults) -> Result<(), Error> {
    let text = match options.action.as_ref().unwrap_or(&FaultsAction::Get) {
        FaultsAction::Get => request(&options, None).await?,
        FaultsAction::Set { source } => request(&options, Some(document(source)?)).await?,
        FaultsAction::Presets => presets(),
        FaultsAction::Check { file } => {
            let text = faults_file::read(file).map_err(|source| Error::Read {
                path: file.clone(),
                source,
            })?;
            faults_file::parse(file, &text)?.to_json()
        }
    };
    Ok(output::write(&format!("{}\n", text.trim_end()))?)
}

/// Reads the active document, or replaces it by `document`.
async fn request(options: &config::Faults, document: Option<String>) -> Result<String, Error> {
    let method = match document {
        None => Method::GET,
        Some(_) => Method::PUT,
    };
    let response = send(&options.target, method, "/faults", document).await?;
    for name in HEADERS {
        let value = response.headers.get(name);
        if let Some(value) = value.and_then(|value| value.to_str().ok()) {
            output::write_diagnostic(&format!("{name}: {value}"));
        }
    }
    Ok(String::from_utf8_lossy(&response.body).into_owned())
}

/// Sends a request to the ops port, with the token if it has a body.
///
/// # Errors
///
/// Returns an error if the server does not respond with success.
pub(crate) async fn send(
    target: &config::OpsTarget,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<Response, Error> {
    let client = Client::new(target.url.clone());
    let token = target.admin_token.as_ref().filter(|_| body.is_some());
    let headers: Vec<_> = token.map(authorization).into_iter().collect();
    let body = body.map(String::into_bytes);
    let response = client.send(method, path, &headers, body).await;
    let response = response.map_err(|source| Error::Unreachable {
        url: target.url.clone(),
        source,
    })?;
    if response.status.is_success() {
        Ok(response)
    } else {
        Err(status_error(&response))
    }
}

fn authorization(token: &AdminToken) -> (HeaderName, HeaderValue) {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
        .expect("a token consists of visible ASCII characters");
    value.set_sensitive(true);
    (header::AUTHORIZATION, value)
}

/// Returns the document of a preset or a file, as JSON.
fn document(source: &str) -> Result<String, Error> {
    if let Some(document) = Document::preset(source) {
        return Ok(document.to_json());
    }
    let path = Path::new(source);
    let text = faults_file::read(path).map_err(|error| {
        let names: Vec<_> = Document::PRESETS.iter().map(|(name, _)| *name).collect();
        Error::UnknownSource {
            name: source.to_owned(),
            presets: names.join(", "),
            error,
        }
    })?;
    Ok(faults_file::parse(path, &text)?.to_json())
}

fn presets() -> String {
    let lines = Document::PRESETS
        .iter()
        .map(|(name, help)| format!("{name:<16} {help}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn status_error(response: &Response) -> Error {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let detail = match response.json::<Problem>() {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&response.body).into_owned(),
    };
    Error::Status {
        status: response.status,
        detail,
    }
}
