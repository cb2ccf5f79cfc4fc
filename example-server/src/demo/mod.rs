//! The `demo` command: a server with sample concerts, `everyday` faults and traffic.

mod concerts;
mod figures;
mod visitors;

use std::fmt;

use ticket_core::policy::Document;

use crate::config::LogFormat;
use crate::serve::{self, Server};
use crate::{config, logging, output};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Logging(#[from] logging::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
    #[error("cannot put the sample concerts on sale")]
    Concerts(#[from] ticket_core::Error),
    #[error("cannot start the traffic")]
    Traffic(#[from] std::io::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
}

/// Serves, with traffic, until a signal.
///
/// # Errors
/// When the server cannot start or its socket fails.
pub(crate) async fn run(options: config::Demo) -> Result<(), Error> {
    logging::start(&options.serve.log)?;
    let everyday = Document::preset("everyday").expect("`everyday` is a preset");
    let server = Server::start(&options.serve, everyday).await?;
    concerts::put_on_sale(&server.tickets).await?;
    tokio::spawn(concerts::keep_on_sale(server.tickets.clone()));
    if options.serve.log.log_format == LogFormat::Text {
        output::write(&Sign(&server).to_string())?;
    }
    let thread = visitors::come(server.api, options.rate, server.stopping.clone())?;
    tokio::spawn(figures::show(
        server.registry.clone(),
        server.stopping.clone(),
    ));
    server.run().await?;
    if thread.join().is_err() {
        tracing::error!("the thread of the traffic panicked");
    }
    Ok(())
}

/// Where to look, for whoever started the demo.
struct Sign<'a>(&'a Server);

impl fmt::Display for Sign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let api = format!("http://{}", visitors::reachable(self.0.api));
        let ops = format!("http://{}", visitors::reachable(self.0.ops));
        writeln!(f, "\nThe ticket platform is open.\n")?;
        for (what, url, shows) in [
            (
                "live page",
                format!("{ops}/"),
                "requests, sales, the database; switch faults on",
            ),
            ("API", format!("{api}/docs"), "concerts, purchases, refunds"),
            ("metrics", format!("{ops}/metrics"), "for Prometheus"),
            (
                "faults",
                format!("{ops}/faults"),
                "what goes wrong on purpose",
            ),
        ] {
            writeln!(f, "  {what:<10} {url:<32} {shows}")?;
        }
        writeln!(f, "\nCtrl-C closes it.\n")
    }
}
