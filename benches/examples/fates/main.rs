//! Produces every fate of a request over real connections, and prints how
//! tower-metrics and other middleware record it.
//!
//! Run with `cargo run --release -p benches --example fates`, and with
//! `-- --markdown` for a Markdown table.

mod app;
mod client;
mod counts;
mod fates;
mod middleware;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use harness::table;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::fates::{FATES, Fate};
use crate::middleware::Middleware;

/// Far more than any fate takes.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let markdown = std::env::args().any(|argument| argument == "--markdown");
    // Panics are expected: do not print them.
    std::panic::set_hook(Box::new(|_| {}));

    let all = middleware::all();
    let mut rows = Vec::new();
    for fate in FATES {
        let mut row = vec![fate.name.to_owned()];
        for middleware in &all {
            let counts = run(fate, middleware).await;
            let counts = counts.map_err(|e| format!("{}: {}: {e}", middleware.name, fate.name))?;
            row.push(fate.evaluate(&counts));
        }
        rows.push(row);
    }
    let mut header = vec!["event"];
    header.extend(all.iter().map(|middleware| middleware.name));
    if markdown {
        table::print_markdown(&header, &rows);
        println!("\n{}", LEGEND.trim());
    } else {
        table::print(
            "Outcomes of a request as recorded by each middleware",
            &header,
            &rows,
        );
        println!("\n{}", LEGEND.trim());
    }
    Ok(())
}

const LEGEND: &str = "
Each cell shows what was recorded: the status and, where the middleware has one, the error type.
`-` means that nothing was recorded. `+1 in flight` means that the gauge stays too high by one.
`n series` is the number of series created. ✓ means that the request was counted once, that the
gauge returned to its value, and that a failure was not recorded as a success. Each middleware is
configured as in its documentation, and axum-prometheus with response sizes enabled.
";

/// Returns what a middleware records for a request with this fate.
async fn run(fate: &Fate, middleware: &Middleware) -> Result<Counts, Box<dyn Error>> {
    let before = middleware.read();
    let (entered, mut has_entered) = mpsc::unbounded_channel();
    let app = app::stack(fate.stack, app::routes(entered), middleware);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, app, stopped));

    let client = fate.client.run(address, &mut has_entered);
    tokio::time::timeout(TIMEOUT, client).await??;
    // The server stops after its last connection, when everything is recorded.
    let _ = stop.send(());
    tokio::time::timeout(TIMEOUT, server).await???;
    // HTTP/2 streams run on separate tasks, which may end after the connection.
    let mut counts = middleware.read().since(&before);
    for _ in 0..20 {
        if counts.in_flight == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        counts = middleware.read().since(&before);
    }
    Ok(counts)
}

async fn serve(
    listener: TcpListener,
    app: Router,
    stop: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let stop = async {
        let _ = stop.await;
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
}
