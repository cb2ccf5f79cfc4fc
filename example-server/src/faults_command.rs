//! The `faults` command: a server's faults, shown and changed from the command line.

use std::io;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use ticket_core::policy::Document;

use crate::config::{self, AdminToken, FaultsAction};
use crate::traffic::client::{Answer, Client, Failure};
use crate::{faults_file, output};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{url} does not answer")]
    Unreachable { url: http::Uri, source: Failure },
    #[error("{status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("{source:?} is neither a preset ({presets}) nor a file that can be read", source = name)]
    NoSource {
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

/// Runs the command and prints what comes of it.
///
/// # Errors
/// When the server does not answer or refuses, or the document cannot be read.
pub(crate) async fn run(options: config::Faults) -> Result<(), Error> {
    let text = match options.action.as_ref().unwrap_or(&FaultsAction::Get) {
        FaultsAction::Get => ask(&options, None).await?,
        FaultsAction::Set { source } => ask(&options, Some(document(source)?)).await?,
        FaultsAction::Presets => presets(),
        FaultsAction::Check { file } => {
            let text = read(file)?;
            faults_file::parse(file, &text)?.to_json()
        }
    };
    output::write(&format!("{}\n", text.trim_end()))?;
    Ok(())
}

async fn ask(options: &config::Faults, document: Option<String>) -> Result<String, Error> {
    let client = Client::new(options.url.clone());
    let headers = match &options.admin_token {
        Some(token) => vec![(header::AUTHORIZATION, bearer(token))],
        None => Vec::new(),
    };
    let answer = match document {
        None => client.get("/faults").await,
        Some(document) => put(&client, &headers, document).await,
    };
    let answer = answer.map_err(|source| Error::Unreachable {
        url: options.url.clone(),
        source,
    })?;
    if !answer.status.is_success() {
        return Err(refusal(&answer));
    }
    let about = ["faults-name", "faults-source", "faults-expires-at"]
        .into_iter()
        .filter_map(|name| Some((name, answer.headers.get(name)?.to_str().ok()?)));
    for (name, value) in about {
        output::write_diagnostic(&format!("{name}: {value}"));
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

async fn put(
    client: &Client,
    headers: &[(HeaderName, HeaderValue)],
    document: String,
) -> Result<Answer, Failure> {
    client
        .send(Method::PUT, "/faults", headers, Some(document.into_bytes()))
        .await
}

fn bearer(token: &AdminToken) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
        .expect("a token consists of visible ASCII characters");
    value.set_sensitive(true);
    value
}

/// The document that `source` names, as JSON.
fn document(source: &str) -> Result<String, Error> {
    if let Some(document) = Document::preset(source) {
        return Ok(document.to_json());
    }
    let path = Path::new(source);
    let text = faults_file::read(path).map_err(|error| {
        let names: Vec<_> = Document::PRESETS.iter().map(|(name, _)| *name).collect();
        Error::NoSource {
            name: source.to_owned(),
            presets: names.join(", "),
            error,
        }
    })?;
    Ok(faults_file::parse(path, &text)?.to_json())
}

fn read(path: &Path) -> Result<String, Error> {
    faults_file::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn presets() -> String {
    let lines = Document::PRESETS
        .iter()
        .map(|(name, help)| format!("{name:<16} {help}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn refusal(answer: &Answer) -> Error {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let detail = match answer.json::<Problem>() {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    Error::Refused {
        status: answer.status,
        detail,
    }
}
