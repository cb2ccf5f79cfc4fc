//! Drives the live page in Chromium.

mod charts;
mod chromium;
#[path = "../../src/traffic/client.rs"]
#[allow(dead_code, unreachable_pub)]
mod client;
mod docs;
#[path = "../server/process.rs"]
#[allow(dead_code)]
mod process;
mod screenshots;

use serde_json::{Value, json};

use crate::chromium::{Browser, Page};
use crate::process::{Server, order, sqlite, until};

/// Opens the live page of a server and waits for its event stream.
async fn open(browser: &Browser, server: &Server) -> Page {
    let mut page = browser.page().await;
    page.open(&server.ops_url).await;
    wait_until_live(&mut page).await;
    page
}

async fn wait_until_live(page: &mut Page) {
    page.until("document.getElementById('connection')?.dataset.state === 'live'")
        .await;
    page.find("switch", "calm").await;
}

/// Asserts that the page made no requests to other hosts, and logged no errors except those that
/// contain one of the `expected` texts.
async fn assert_no_errors(page: &mut Page, server: &Server, expected: &[&str]) {
    page.evaluate("0").await;
    let is_own = |url: &&String| url.starts_with(&server.ops_url) || url.starts_with("data:");
    let others: Vec<_> = page.requests.iter().filter(|url| !is_own(url)).collect();
    assert!(others.is_empty(), "{others:?}");
    let is_expected = |error: &&String| expected.iter().any(|text| error.contains(text));
    let errors: Vec<_> = page
        .errors
        .iter()
        .filter(|error| !is_expected(error))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn panel(id: &str) -> String {
    format!("document.querySelector('[data-panel=\"{id}\"]')")
}

/// Scrolls to a panel and waits until it contains a text.
async fn wait_for_text(page: &mut Page, id: &str, text: &str) {
    let panel = panel(id);
    page.until(&format!(
        "({panel}.scrollIntoView(), {panel}.innerText.replace(/\\s+/g, ' ').includes({}))",
        json!(text)
    ))
    .await;
}

/// Waits until the page has rendered the panels into which it has been scrolled.
async fn rendered(page: &mut Page) {
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        .await;
}

/// Returns the end of a chart's image as a data URL, which is short enough for failure messages.
async fn image(page: &mut Page, id: &str) -> Value {
    let panel = panel(id);
    page.until(&format!(
        "({panel}.scrollIntoView(), {panel}.querySelector('canvas') !== null)"
    ))
    .await;
    rendered(page).await;
    page.evaluate(&format!(
        "{panel}.querySelector('canvas').toDataURL().slice(-60)"
    ))
    .await
}

async fn wait_for_change(page: &mut Page, id: &str, before: &Value) {
    until(&format!("the chart {id} changes"), async || {
        image(page, id).await != *before
    })
    .await;
}

/// JavaScript expression that is true while the page shows that the availability alert is firing.
const FIRING: &str = "(a => a.dataset.tone === 'bad' && a.innerText.includes('page'))\
                   (document.querySelector('a[href=\"#availability\"]'))";

/// Returns the active preset of faults.
async fn active_faults(server: &Server) -> String {
    let answer = server.ops.get("/faults").await.unwrap();
    answer.headers["faults-name"].to_str().unwrap().to_owned()
}

async fn wait_for_faults(server: &Server, faults: &str) {
    until(&format!("{faults} is active"), async || {
        active_faults(server).await == faults
    })
    .await;
}

async fn is_on(page: &mut Page, switch: &str) -> bool {
    let switch = page.find("switch", switch).await;
    page.call(switch, "e => e.getAttribute('aria-checked')")
        .await
        == "true"
}

#[tokio::test]
async fn the_page_shows_the_values_of_the_metrics() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let concert = server.concert(100).await;
    let mut page = open(&browser, &server).await;
    // The counters are sampled at zero before the first sale.
    wait_for_text(&mut page, "available-tickets", "nina-simone 100").await;
    for quantity in [2, 3, 4] {
        let path = format!("/concerts/{concert}/purchases");
        let answer = server.post(&path, &order("Ada", quantity)).await;
        assert_eq!(answer.status, 201);
    }
    for _ in 0..20 {
        server.api.get("/concerts").await.unwrap();
    }

    wait_for_text(&mut page, "available-tickets", "nina-simone 91").await;
    let sold = server.metric("tickets_sold_total", &[]).await;
    let amount = server.metric("ticket_sales_amount_total", &[]).await;
    wait_for_text(&mut page, "tickets-in-range", &sold.to_string()).await;
    wait_for_text(&mut page, "revenue-in-range", &format!("{amount} EUR")).await;
    let requests = server.requests(&[]).await;
    assert_eq!((sold, amount, requests), (9.0, 585.0, 24.0));

    page.find("figure", "Available tickets").await;
    let badge = page.find("DisclosureTriangle", "Consistency").await;
    page.click(badge).await;
    let sides = "Object.fromEntries([...document.querySelectorAll('#badges details[open] dt')]\
                 .map(dt => [dt.innerText, dt.nextElementSibling.innerText]))";
    until(
        "the consistency check shows the values of the metrics",
        async || {
            let sides = page.evaluate(sides).await;
            sides["started"] == "24"
                && sides["ended + in flight"] == "24"
                && sides["purchases"] == "9"
        },
    )
    .await;
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn charts_move_and_an_outage_fires_the_alert() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "60"]);
    let mut page = open(&browser, &server).await;
    for chart in [
        "requests-by-route",
        "duration-heatmap",
        "available-tickets-over-time",
    ] {
        let before = image(&mut page, chart).await;
        wait_for_change(&mut page, chart, &before).await;
    }

    let before = image(&mut page, "requests-by-route").await;
    wait_for_change(&mut page, "requests-by-route", &before).await;
    page.press(" ").await;
    let resume = page.find("button", "Resume").await;
    let before = image(&mut page, "requests-by-route").await;
    let begun = server.requests(&[]).await;
    until("more requests are served", async || {
        server.requests(&[]).await > begun + 120.0
    })
    .await;
    assert_eq!(image(&mut page, "requests-by-route").await, before);
    page.click(resume).await;
    wait_for_change(&mut page, "requests-by-route", &before).await;

    assert!(is_on(&mut page, "everyday").await);
    let outage = page.find("switch", "payment-outage").await;
    page.click(outage).await;
    wait_for_faults(&server, "payment-outage").await;
    page.until(FIRING).await;
    page.until("document.querySelector('#availability tbody tr').dataset.tone === 'bad'")
        .await;
    assert!(is_on(&mut page, "payment-outage").await);
    wait_for_text(&mut page, "burn-rate", "availability").await;

    let calm = page.find("switch", "calm").await;
    page.click(calm).await;
    wait_for_faults(&server, "calm").await;
    // The alert with the shortest windows. The others resolve later.
    page.until("document.querySelector('#availability tbody tr').dataset.tone === ''")
        .await;
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn an_open_page_reconnects_to_a_restarted_server() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut server = Server::start(&[]);
    let mut page = open(&browser, &server).await;
    let address = server.ops_url.strip_prefix("http://").unwrap().to_owned();
    server.kill();
    page.until("document.getElementById('connection').dataset.state === 'lost'")
        .await;

    let server = Server::start(&["--ops-listen", &address]);
    wait_until_live(&mut page).await;
    // The page shows and controls the new server.
    server.concert(7).await;
    wait_for_text(&mut page, "available-tickets", "nina-simone 7").await;
    let each = page.find("switch", "each").await;
    page.click(each).await;
    until("the commit mode is each", async || {
        server.metric("ticket_commit_mode", &["\"each\""]).await == 1.0
    })
    .await;
    // The browser logs failed connections.
    assert_no_errors(&mut page, &server, &["net::ERR_"]).await;
}

#[tokio::test]
async fn hidden_tabs_release_their_connections() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    // Chromium opens at most six HTTP/1 connections to a server.
    let mut tabs = Vec::new();
    for _ in 0..8 {
        tabs.push(open(&browser, &server).await);
    }
    let mut first = tabs.swap_remove(0);
    first.until("document.hidden").await;
    first.command("Page.bringToFront", json!({})).await;
    wait_until_live(&mut first).await;
    let switch = first.find("switch", "brown-out").await;
    first.click(switch).await;
    wait_for_faults(&server, "brown-out").await;
    assert_no_errors(&mut first, &server, &[]).await;
}

#[tokio::test]
async fn the_switch_of_the_playing_scenario_is_on_and_its_step_is_shown() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server).await;
    let scenario = page.find("switch", "bad-deploy").await;
    page.click(scenario).await;
    page.until("document.getElementById('controls').innerText.includes('1/4: The old version')")
        .await;
    assert!(is_on(&mut page, "bad-deploy").await);
    // Pressing the switch again ends the scenario.
    page.click(scenario).await;
    until("the scenario ends", async || is_on(&mut page, "none").await).await;
    page.until("!document.getElementById('controls').innerText.includes('/4')")
        .await;
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn controls_are_operable_by_keyboard() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server).await;
    let mut reached = Vec::new();
    for (key, wanted) in [("Enter", "slow-database"), (" ", "brown-out")] {
        loop {
            page.press("Tab").await;
            let focus = page.evaluate("document.activeElement.innerText").await;
            let focus = focus.as_str().unwrap_or("").to_owned();
            reached.push(focus.clone());
            assert!(reached.len() < 40, "{wanted} is not among {reached:?}");
            if focus == wanted {
                break;
            }
        }
        let outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(outline.await, "none", "the focus is visible");
        page.press(key).await;
        wait_for_faults(&server, wanted).await;
        until("the switch is on", async || is_on(&mut page, wanted).await).await;
    }
    assert_eq!(reached[0], "Skip to the charts");
    assert_no_errors(&mut page, &server, &[]).await;
}

/// Waits for the token dialog and for the focus in its field.
async fn wait_for_token_dialog(page: &mut Page) {
    page.find("dialog", "Admin token").await;
    page.until("document.querySelector('dialog[open] input') === document.activeElement")
        .await;
}

#[tokio::test]
async fn the_page_asks_for_the_token_once_and_a_wrong_token_changes_nothing() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&["--admin-token", "s3cret"]);
    let mut page = open(&browser, &server).await;
    let faults = page.find("switch", "slow-database").await;

    page.click(faults).await;
    wait_for_token_dialog(&mut page).await;
    page.press("Escape").await;
    page.until("!document.querySelector('dialog[open]')").await;

    page.click(faults).await;
    wait_for_token_dialog(&mut page).await;
    // The next announcement may replace it before it is read.
    let observe = "window.announced = []; \
                   (node => new MutationObserver(() => announced.push(node.innerText)) \
                     .observe(node, { childList: true, characterData: true, subtree: true })) \
                   (document.getElementById('announcements'))";
    page.evaluate(observe).await;
    page.insert_text("wrong").await;
    page.press("Enter").await;
    page.until("announced.some(text => text.includes('Cannot change'))")
        .await;
    assert_eq!(active_faults(&server).await, "calm");

    page.click(faults).await;
    wait_for_token_dialog(&mut page).await;
    page.insert_text("s3cret").await;
    page.press("Enter").await;
    wait_for_faults(&server, "slow-database").await;

    let brown_out = page.find("switch", "brown-out").await;
    page.click(brown_out).await;
    wait_for_faults(&server, "brown-out").await;
    assert!(page.all("dialog", None).await.is_empty());
    // The browser logs error responses.
    assert_no_errors(&mut page, &server, &["status of 401"]).await;
}

#[tokio::test]
async fn a_phone_needs_no_horizontal_scrolling_in_either_theme() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "30"]);
    let mut page = browser.page().await;
    let phone = json!({ "width": 360, "height": 740, "deviceScaleFactor": 3, "mobile": true });
    page.command("Emulation.setDeviceMetricsOverride", phone)
        .await;
    page.open(&server.ops_url).await;
    wait_until_live(&mut page).await;
    wait_for_text(&mut page, "top-concerts", "radiohead").await;
    wait_for_text(&mut page, "revenue-by-concert", "radiohead").await;
    let table = panel("revenue-by-concert");
    let sorted = format!(
        "[...{table}.querySelectorAll('[aria-sort], td:nth-child(4)')]\
         .every(e => e.innerText && e.getBoundingClientRect().right <= 348)"
    );
    assert_eq!(page.evaluate(&sorted).await, true, "Revenue is visible");
    // The widest content: a firing alert, and the details of the check.
    server
        .put_faults(&json!({ "preset": "payment-outage" }))
        .await;
    page.until(FIRING).await;
    let badge = page.all("DisclosureTriangle", None).await[0];
    page.click(badge).await;
    page.until("document.querySelector('#badges details[open]') !== null")
        .await;
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        page.command("Emulation.setEmulatedMedia", features).await;
        let [background, text] = luminance(&mut page).await;
        assert_eq!(
            background < text,
            is_dark,
            "{scheme}: {text} on {background}"
        );
        let contrast = (background.max(text) + 0.05) / (background.min(text) + 0.05);
        assert!(contrast > 7.0, "{scheme}: {contrast}");
        let wide = page.evaluate("[...document.querySelectorAll('*')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > 361).map(e => `${e.tagName}.${e.className} ${e.id} ${e.closest('[data-panel]')?.dataset.panel} ${e.getBoundingClientRect().right}`)").await;
        assert_eq!(wide, json!([]), "{scheme}");
        let width = page.evaluate("document.documentElement.scrollWidth").await;
        assert_eq!(width, 360);
    }
    page.click(badge).await;
    let button = page.find("button", "Toggle theme").await;
    page.click(button).await;
    let [background, text] = luminance(&mut page).await;
    assert!(
        text < background,
        "the chosen light theme overrides the dark one of the system"
    );
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn objectives_and_legends_are_shown_in_full_at_every_width() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--rate", "30"];
    let server = Server::run("demo", &sqlite(folder.path()), &arguments);
    let mut page = open(&browser, &server).await;
    server
        .put_faults(&json!({ "preset": "payment-outage" }))
        .await;
    page.until(FIRING).await;
    for width in [1600, 1440, 1181, 800, 360] {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        page.command("Emulation.setDeviceMetricsOverride", size)
            .await;
        for chart in ["burn-rate", "network-traffic"] {
            image(&mut page, chart).await;
        }
        let cut = "[...document.querySelectorAll('.objective table, .objective td, .objective th')]\
                   .filter(e => e.getBoundingClientRect().right > e.closest('.objective').getBoundingClientRect().right)\
                   .map(e => e.innerText)";
        assert_eq!(page.evaluate(cut).await, json!([]), "{width}");
        let cut = "[...document.querySelectorAll('ol.bars .label, h3, .stats dd')]\
                   .filter(e => e.scrollWidth > e.clientWidth + 1)\
                   .map(e => `${e.innerText} in ${e.closest('[data-panel]')?.dataset.panel}`)";
        assert_eq!(page.evaluate(cut).await, json!([]), "{width}");
        let cut = "[...document.querySelectorAll('.legend .label')]\
                   .filter(e => e.scrollWidth > e.clientWidth)\
                   .filter(e => e.closest('li').offsetWidth < e.closest('.legend').clientWidth)\
                   .map(e => e.innerText)";
        assert_eq!(page.evaluate(cut).await, json!([]), "{width}");
    }
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn rate_errors_duration_and_sales_are_visible_without_scrolling() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "30"]);
    let mut page = browser.page().await;
    let size = json!({ "width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    page.command("Emulation.setDeviceMetricsOverride", size)
        .await;
    page.open(&server.ops_url).await;
    wait_until_live(&mut page).await;
    for id in [
        "requests",
        "errors",
        "p99-duration",
        "purchases",
        "requests-by-status",
        "errors-by-type",
        "duration",
        "purchase-attempts-per-minute",
    ] {
        let panel = panel(id);
        let bottom = format!("{panel}?.getBoundingClientRect().bottom <= 900 && scrollY === 0");
        page.until(&bottom).await;
        page.until(&format!("/\\d/.test({panel}.innerText)")).await;
    }
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn every_panel_is_drawn_without_scrolling_to_it() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::run("demo", &sqlite(folder.path()), &["--rate", "60"]);
    let mut page = open(&browser, &server).await;
    let missing = "[...document.querySelectorAll('details[open] [data-panel]')]\
                   .filter(e => !e.querySelector('canvas, tbody tr, ol.bars li, dd b'))\
                   .map(e => e.dataset.panel)";
    page.until(&format!("{missing}.length === 0 && scrollY === 0"))
        .await;
    let panels = "document.querySelectorAll('[data-panel]').length";
    assert!(page.evaluate(panels).await.as_u64() > Some(30));

    // Panels that are not visible stay current.
    let hidden = "document.querySelector('[data-panel=\"active-preset\"]').renderer";
    let last = page
        .evaluate(&format!("{hidden}.plot.data[0].length"))
        .await;
    page.until(&format!("{hidden}.plot.data[0].length > {last}"))
        .await;

    // A print has all panels, and the light theme.
    let theme = "document.documentElement.dataset.theme ?? 'none'";
    for (event, expected) in [("beforeprint", "light"), ("afterprint", "none")] {
        page.evaluate(&format!("dispatchEvent(new Event('{event}'))"))
            .await;
        assert_eq!(page.evaluate(theme).await, expected);
    }
    let printed = page
        .command(
            "Page.printToPDF",
            json!({ "printBackground": true, "preferCSSPageSize": true }),
        )
        .await;
    assert!(printed["data"].as_str().unwrap().len() > 50_000);
    assert_no_errors(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn the_range_of_the_charts_grows_with_the_data() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server).await;
    page.find("button", "5 min").await;
    let plot = format!("{}.renderer.plot", panel("requests-by-status"));
    server.api.get("/concerts").await.unwrap();
    page.until(&format!("{plot}?.data[0].length > 1")).await;
    let span = format!("{plot}.scales.x.max - {plot}.scales.x.min");
    let shown = page.evaluate(&span).await.as_f64().unwrap();
    assert!((29.0..=60.0).contains(&shown), "{shown} s");
    // From the shortest range on, it is as long as the data.
    let known = format!("{plot}.data[0].at(-1) - {plot}.data[0][0]");
    page.until(&format!("{known} > 33 && Math.abs({known} - ({span})) < 2"))
        .await;
    assert_no_errors(&mut page, &server, &[]).await;
}

/// Returns the relative luminance of the background and the text as WCAG defines it.
async fn luminance(page: &mut Page) -> [f64; 2] {
    let colors = page
        .evaluate(
            "(() => { const { backgroundColor, color } = getComputedStyle(document.body); \
             const context = document.createElement('canvas').getContext('2d'); \
             return [backgroundColor, color].map(color => { \
               context.fillStyle = color; context.fillRect(0, 0, 1, 1); \
               return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3); }); })()",
        )
        .await;
    [0, 1].map(|which| {
        let part = |at: usize| {
            let part = colors[which][at].as_f64().unwrap() / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055f64).powf(2.4)
            }
        };
        0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2)
    })
}
