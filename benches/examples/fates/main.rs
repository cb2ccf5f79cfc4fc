//! Sends every fate that a request can meet through tower-metrics and through
//! its peers, over real connections, and prints who counted what.
//!
//! `cargo run --release -p benches --example fates`, with `-- --markdown` for
//! a table to paste.

mod app;
mod client;
mod contestants;
mod counts;
mod fates;

use std::error::Error;
use std::time::Duration;

use axum::Router;
use harness::table;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::contestants::Contestant;
use crate::counts::Counts;
use crate::fates::{FATES, Fate};

/// Far more than any fate takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let markdown = std::env::args().any(|argument| argument == "--markdown");
    // Panics are among the fates, and no news.
    std::panic::set_hook(Box::new(|_| {}));

    let contestants = contestants::all();
    let mut rows = Vec::new();
    for fate in FATES {
        let mut row = vec![fate.name.to_owned()];
        for contestant in &contestants {
            let counts = meet(fate, contestant).await;
            let counts = counts.map_err(|e| format!("{}: {}: {e}", contestant.name, fate.name))?;
            row.push(fate.verdict(&counts));
        }
        rows.push(row);
    }
    let mut header = vec!["what happens"];
    header.extend(contestants.iter().map(|contestant| contestant.name));
    if markdown {
        table::print_markdown(&header, &rows);
        println!("\n{}", LEGEND.trim());
    } else {
        table::print(
            "Every fate of a request, and who counts what",
            &header,
            &rows,
        );
        println!("\n{}", LEGEND.trim());
    }
    Ok(())
}

const LEGEND: &str = "
A cell says what was counted: the status and, where the layer has such a label, the error type;
`-` is nothing. `+1 in flight`: the gauge stays one too high for ever. `n series`: so many were
made, and stay. ✓ counted once, nothing left in flight, and no failure looks like a good answer.
Every layer is set up as its own documentation says, axum-prometheus with response sizes switched on.
";

/// What a contestant counts when a request meets this fate.
async fn meet(fate: &Fate, contestant: &Contestant) -> Result<Counts, Box<dyn Error>> {
    let before = contestant.read();
    let (entered, mut has_entered) = mpsc::unbounded_channel();
    let app = app::stack(fate.stack, app::routes(entered), contestant);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, app, stopped));

    let client = fate.client.run(address, &mut has_entered);
    tokio::time::timeout(PATIENCE, client).await??;
    // The server ends when its last connection has: then all is counted.
    let _ = stop.send(());
    tokio::time::timeout(PATIENCE, server).await???;
    Ok(contestant.read().since(&before))
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
