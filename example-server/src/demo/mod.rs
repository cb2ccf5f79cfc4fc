//! The `demo` command: a server with sample concerts, `everyday` faults and traffic.

mod concerts;
mod figures;
mod visitors;

use ticket_core::policy::Document;

use crate::serve::{self, Server};
use crate::{config, logging};

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
