//! The `scenarios` command: lists, shows and checks scenarios, and plays them on a running server.

use std::path::Path;
use std::time::Duration;

use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use ticket_core::policy::Scenario;

use crate::config::{self, ScenariosAction};
use crate::faults_command::{self, send};
use crate::{output, scenarios};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Scenario(#[from] scenarios::Error),
    #[error(transparent)]
    Request(#[from] faults_command::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Runs the command and prints its result.
///
/// # Errors
///
/// Returns an error if a scenario does not exist or is invalid, or if the server does not respond with
/// success.
pub(crate) async fn run(options: config::Scenarios) -> Result<(), Error> {
    let target = &options.target;
    let text = match options.action.as_ref().unwrap_or(&ScenariosAction::List) {
        ScenariosAction::List => list(),
        ScenariosAction::Show { source } => show(source)?,
        ScenariosAction::Check { file } => timeline(&scenarios::load(file)?),
        ScenariosAction::Status => text(&send(target, Method::GET, "/scenario", None).await?),
        ScenariosAction::Play { name } => {
            let body = json!({ "scenario": name }).to_string();
            text(&send(target, Method::PUT, "/scenario", Some(body)).await?)
        }
        ScenariosAction::Stop => {
            let body = json!({ "scenario": null }).to_string();
            text(&send(target, Method::PUT, "/scenario", Some(body)).await?)
        }
    };
    Ok(output::write(&format!("{}\n", text.trim_end()))?)
}

fn text(response: &crate::traffic::client::Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

fn list() -> String {
    let lines = Scenario::all()
        .iter()
        .map(|scenario| format!("{:<16} {}", scenario.name(), scenario.note()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the text of a scenario that needs no file, or the timeline of one in a file.
fn show(source: &Path) -> Result<String, Error> {
    match source.to_str().and_then(Scenario::text) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(timeline(&scenarios::load(source)?)),
    }
}

fn timeline(scenario: &Scenario) -> String {
    let mut lines = vec![format!("{}: {}", scenario.name(), scenario.note())];
    lines.extend(scenario.steps().iter().map(|step| {
        let faults = step.document.name().unwrap_or("custom");
        format!(
            "{:>8}  traffic x {:<4} {faults:<16} {}",
            shown(step.at),
            step.traffic,
            step.note
        )
    }));
    lines.push(match scenario.repeat_every() {
        Some(every) => format!("{:>8}  starts over", shown(every)),
        None => "the last step lasts until the server stops".to_owned(),
    });
    lines.join("\n")
}

/// Formats a time as scenarios write it, such as `2m 30s`.
fn shown(time: Duration) -> String {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    format!("{time:#}")
}
