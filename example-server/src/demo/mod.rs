//! The `demo` command: a server with sample concerts, the `everyday` faults and generated traffic.

mod arrivals;
mod concerts;
mod status_line;

use std::fmt;
use std::io;

use ticket_core::policy::Document;

use crate::config::LogFormat;
use crate::serve::{self, Server};
use crate::signal::{self, Signals};
use crate::{config, logging, output, task};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Logging(#[from] logging::Error),
    #[error(transparent)]
    Signals(#[from] signal::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
    #[error("cannot create the sample concerts")]
    Concerts(#[from] ticket_core::Error),
    #[error("cannot start the generated traffic")]
    Traffic(#[from] io::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Runs the demo until a signal.
///
/// # Errors
///
/// Returns an error if the server cannot start or its socket fails.
pub(crate) async fn run(options: config::Demo) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    logging::start(&options.serve.log)?;
    let everyday = Document::preset("everyday").expect("`everyday` is a preset");
    let server = Server::start(&options.serve, everyday, &mut signals).await?;
    let samples = tokio::select! {
        created = concerts::create_missing(&server.tickets) => created?,
        signal = signals.next() => return Err(serve::Error::Interrupted(signal).into()),
    };
    task::spawn(concerts::reset_sold_out(server.tickets.clone(), samples));
    if options.serve.log.log_format == LogFormat::Text {
        output::write(&Welcome(&server).to_string())?;
    }
    let traffic = arrivals::spawn(
        server.api,
        options.rate,
        server.playback.clone(),
        server.stopping.clone(),
    )?;
    task::spawn(status_line::show(
        server.registry.clone(),
        server.stopping.clone(),
    ));
    server.run(signals).await?;
    if traffic.join().is_err() {
        tracing::error!("the traffic thread panicked");
    }
    Ok(())
}

/// Lists the URLs of the server for the user who started the demo.
struct Welcome<'a>(&'a Server);

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let api = format!("http://{}", arrivals::reachable(self.0.api));
        let ops = format!("http://{}", arrivals::reachable(self.0.ops));
        writeln!(f, "\nThe demo is running.\n")?;
        for (name, url, shows) in [
            (
                "Live page",
                format!("{ops}/"),
                "requests, sales and the database; switches for faults",
            ),
            ("API", format!("{api}/docs"), "concerts, purchases, refunds"),
            ("Metrics", format!("{ops}/metrics"), "for Prometheus"),
            ("Faults", format!("{ops}/faults"), "faults being injected"),
        ] {
            writeln!(f, "  {name:<10} {url:<32} {shows}")?;
        }
        writeln!(f, "\nPress Ctrl-C to stop.\n")
    }
}
