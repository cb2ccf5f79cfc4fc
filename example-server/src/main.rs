//! Ticket platform that demonstrates tower-metrics: an HTTP API that sells tickets, an ops port with
//! metrics, probes and a live page, and a command-line interface.

mod api;
mod body;
mod config;
mod dashboards;
mod demo;
mod faults_command;
mod faults_file;
mod guard;
mod load;
mod logging;
mod metrics;
mod net;
mod ops;
mod output;
mod overload;
mod problem;
mod scenarios;
mod scenarios_command;
mod security;
mod serve;
mod signal;
mod task;
mod traffic;

use std::error::Error;
use std::process::ExitCode;

use config::{Cli, Command};
use serve::Server;
use signal::Signals;
use ticket_core::policy::Document;

#[tokio::main]
async fn main() -> ExitCode {
    let result = run(Cli::parse_command()).await;
    logging::shut_down();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::write_diagnostic(&format!("error: {}", chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve(options) => {
            let mut signals = Signals::listen()?;
            logging::start(&options.log)?;
            let server = Server::start(&options, Document::calm(), &mut signals).await?;
            server.run(signals).await?;
        }
        Command::Demo(options) => demo::run(options).await?,
        Command::Load(options) => load::run(options).await?,
        Command::Overload(options) => overload::run(options).await?,
        Command::Faults(options) => faults_command::run(options).await?,
        Command::Scenarios(options) => scenarios_command::run(options).await?,
        Command::Dashboards(options) => dashboards::write(&options.out, options.native_histograms)?,
        Command::Openapi => output::write(&api::DOCUMENT)?,
    }
    Ok(())
}

/// Formats an error together with its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some errors include their source in their own message.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
