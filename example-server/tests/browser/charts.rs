//! Drives the time series charts of the live page.

use serde_json::json;

use crate::chromium::{Browser, Page};
use crate::process::{Server, sqlite};
use crate::{assert_no_errors, open, panel};

const CHART: &str = "injected-faults";

/// Returns the colors and the names in the legend of the chart.
async fn legend(page: &mut Page) -> Vec<(String, String)> {
    let items = format!(
        "[...{}.querySelectorAll('.legend button')].map(e => [e.querySelector('i').className, e.dataset.name])",
        panel(CHART)
    );
    let items = page.evaluate(&items).await;
    serde_json::from_value(items).unwrap()
}

#[tokio::test]
async fn a_chart_with_many_series_omits_those_that_are_zero_and_keeps_colors() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "60"]);
    let mut page = open(&browser, &server).await;
    let chart = panel(CHART);
    let shows = |name: &str| {
        let button = format!("[data-name={}]", json!(name));
        format!("({chart}.scrollIntoView(), {chart}.querySelector('{button}') !== null)")
    };
    page.until(&shows("payment delay")).await;
    let before = legend(&mut page).await;
    let complete = format!(
        "(({{ data, names, others }}) => \
          names.length <= 12 && others.innerText.startsWith(`${{data.series.size - names.length}} others: 0`))\
         ({chart}.renderer)"
    );
    page.until(&complete).await;

    // A hidden line stays hidden, and the focus stays in the legend, when another line appears.
    let toggle = format!("{chart}.querySelector('[data-name=\"payment delay\"]')");
    page.evaluate(&format!("({toggle}.click(), {toggle}.focus())"))
        .await;
    server
        .put_faults(&json!({ "preset": "payment-outage" }))
        .await;
    page.until(&shows("payment unavailable")).await;
    let after = legend(&mut page).await;
    for item in &before {
        assert!(
            after.contains(item),
            "{item:?} was in {before:?}: {after:?}"
        );
    }
    let mut colors: Vec<_> = after.iter().map(|(color, _)| color).collect();
    colors.sort_unstable();
    colors.dedup();
    assert_eq!(colors.len(), after.len().min(12), "{after:?}");
    let state = format!(
        "[{toggle}.getAttribute('aria-pressed'), document.activeElement === {toggle},\
          {chart}.renderer.plot.series.find(s => s.label === 'payment delay').show]"
    );
    assert_eq!(page.evaluate(&state).await, json!(["false", true, false]));
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn values_that_round_up_have_three_significant_digits() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server).await;
    let texts = "import('/assets/format.js').then(({ text }) => \
                 [9.99, 9.9999, 99.9, 99.99].map(value => text(value, 'per_minute')))";
    let expected = json!(["9.99/min", "10.0/min", "99.9/min", "100/min"]);
    assert_eq!(page.evaluate(texts).await, expected);
    assert_no_errors(&mut page, &server, &[]).await;
}
