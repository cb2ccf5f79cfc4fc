//! Images of the live page for the README:
//!
//! ```sh
//! cargo test -p example-server --test browser -- --ignored screenshots
//! ```

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::chromium::{Browser, Page};
use crate::process::{Server, sqlite};
use crate::{FIRING, wait_until_live};

/// Waits until the charts have this many samples, one a second.
async fn samples(page: &mut Page, count: u32) {
    // In steps that are shorter than the timeout of a single wait.
    for reached in (0..=count).step_by(10) {
        let plot = "document.querySelector('[data-panel=\"requests-by-status\"]').renderer.plot";
        page.until(&format!("{plot}?.data[0].length >= {reached}"))
            .await;
    }
}

#[tokio::test]
#[ignore = "takes four minutes and writes images"]
async fn screenshots_at_the_end_of_a_payment_outage() {
    let browser = Browser::start().expect("chromium is not installed");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "60"]);
    let mut page = browser.page().await;
    let size = json!({ "width": 1440, "height": 1680, "deviceScaleFactor": 1, "mobile": false });
    page.command("Emulation.setDeviceMetricsOverride", size)
        .await;
    page.open(&server.ops_url).await;
    wait_until_live(&mut page).await;
    samples(&mut page, 150).await;
    server
        .put_faults(&json!({ "preset": "payment-outage" }))
        .await;
    page.until(FIRING).await;
    samples(&mut page, 190).await;
    server.put_faults(&json!({ "preset": "everyday" })).await;
    samples(&mut page, 210).await;
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tower-metrics/dashboard/docs");
    for scheme in ["light", "dark"] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        page.command("Emulation.setEmulatedMedia", features).await;
        samples(&mut page, if scheme == "light" { 212 } else { 214 }).await;
        let image = page
            .command("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        let image = decode(image["data"].as_str().unwrap());
        fs::write(images.join(format!("live-{scheme}.png")), image).unwrap();
    }
}

/// Decodes Base64.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let digit = |byte| DIGITS.iter().position(|digit| *digit == byte).unwrap() as u32;
    let digits: Vec<u32> = digits.map(digit).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let joined = chunk.iter().fold(0, |joined, digit| joined << 6 | digit);
        let joined = joined << (6 * (4 - chunk.len()));
        joined.to_be_bytes()[1..chunk.len()].to_vec()
    });
    bytes.collect()
}
