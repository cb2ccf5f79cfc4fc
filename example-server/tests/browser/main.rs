//! The live page in a real Chromium: figures, switches, keyboard, token, restart, phone, colours.

mod chromium;
#[path = "../../src/traffic/client.rs"]
#[allow(dead_code, unreachable_pub)]
mod client;
#[path = "../server/process.rs"]
#[allow(dead_code)]
mod process;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chromium::{Browser, Page};
use crate::process::{Server, order, sqlite, until};

/// The page of this server, following its stream.
async fn open(browser: &Browser, server: &Server) -> Page {
    let mut page = browser.page().await;
    page.open(&server.ops_url).await;
    is_live(&mut page).await;
    page
}

async fn is_live(page: &mut Page) {
    page.until("document.getElementById('connection')?.dataset.state === 'live'")
        .await;
    page.find("switch", "calm").await;
}

/// Nothing was asked of another host, and nothing was an error but what `known` says.
async fn was_quiet(page: &mut Page, server: &Server, known: &[&str]) {
    page.evaluate("0").await;
    let is_ours = |url: &&String| url.starts_with(&server.ops_url) || url.starts_with("data:");
    let others: Vec<_> = page.requests.iter().filter(|url| !is_ours(url)).collect();
    assert!(others.is_empty(), "{others:?}");
    let is_known = |error: &&String| known.iter().any(|known| error.contains(known));
    let errors: Vec<_> = page
        .errors
        .iter()
        .filter(|error| !is_known(error))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn panel(id: &str) -> String {
    format!("document.querySelector('[data-panel=\"{id}\"]')")
}

/// Waits until a panel, brought into view, says so.
async fn says(page: &mut Page, id: &str, text: &str) {
    let panel = panel(id);
    page.until(&format!(
        "({panel}.scrollIntoView(), {panel}.innerText.replace(/\\s+/g, ' ').includes({}))",
        json!(text)
    ))
    .await;
}

/// What a chart looks like.
async fn picture(page: &mut Page, id: &str) -> Value {
    let panel = panel(id);
    page.until(&format!(
        "({panel}.scrollIntoView(), {panel}.querySelector('canvas') !== null)"
    ))
    .await;
    // The end tells it apart from others, and is short enough for a failure's message.
    page.evaluate(&format!(
        "{panel}.querySelector('canvas').toDataURL().slice(-60)"
    ))
    .await
}

async fn changes(page: &mut Page, id: &str, before: &Value) {
    until(&format!("the chart {id} moves"), async || {
        picture(page, id).await != *before
    })
    .await;
}

/// The page says that the availability objective's alert is lit.
const LIT: &str = "(a => a.dataset.tone === 'bad' && a.innerText.includes('page'))\
                   (document.querySelector('a[href=\"#availability\"]'))";

async fn in_force(server: &Server) -> String {
    let answer = server.ops.get("/faults").await.unwrap();
    answer.headers["faults-name"].to_str().unwrap().to_owned()
}

async fn is_in_force(server: &Server, faults: &str) {
    until(&format!("{faults} is in force"), async || {
        in_force(server).await == faults
    })
    .await;
}

async fn is_on(page: &mut Page, switch: &str) -> bool {
    let switch = page.find("switch", switch).await;
    page.of(switch, "e => e.getAttribute('aria-checked')").await == "true"
}

#[tokio::test]
async fn the_page_shows_the_figures_that_the_metrics_have() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let concert = server.concert(100).await;
    let mut page = open(&browser, &server).await;
    // Its counters are seen at zero before the first sale.
    says(&mut page, "tickets-available", "nina-simone 100").await;
    for quantity in [2, 3, 4] {
        let path = format!("/concerts/{concert}/purchases");
        let answer = server.post(&path, &order("Ada", quantity)).await;
        assert_eq!(answer.status, 201);
    }
    for _ in 0..20 {
        server.api.get("/concerts").await.unwrap();
    }

    says(&mut page, "tickets-available", "nina-simone 91").await;
    let sold = server.metric("tickets_sold_total", &[]).await;
    let amount = server.metric("ticket_sales_amount_total", &[]).await;
    says(&mut page, "tickets-in-range", &sold.to_string()).await;
    says(&mut page, "revenue-in-range", &format!("EUR {amount}")).await;
    let requests = server.requests(&[]).await;
    assert_eq!((sold, amount, requests), (9.0, 585.0, 24.0));

    page.find("figure", "Tickets available").await;
    let badge = page.find("DisclosureTriangle", "The books balance").await;
    page.click(badge).await;
    let sides = "Object.fromEntries([...document.querySelectorAll('#badges details[open] dt')]\
                 .map(dt => [dt.innerText, dt.nextElementSibling.innerText]))";
    until("the books are the metrics'", async || {
        let sides = page.evaluate(sides).await;
        sides["begun"] == "24" && sides["ended + in flight"] == "24" && sides["purchases"] == "9"
    })
    .await;
    was_quiet(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn charts_move_and_a_pressed_outage_lights_the_alert_within_a_minute() {
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
        let before = picture(&mut page, chart).await;
        changes(&mut page, chart, &before).await;
    }

    let before = picture(&mut page, "requests-by-route").await;
    changes(&mut page, "requests-by-route", &before).await;
    page.press(" ").await;
    let resume = page.find("button", "Resume").await;
    let before = picture(&mut page, "requests-by-route").await;
    let begun = server.requests(&[]).await;
    until("requests go on", async || {
        server.requests(&[]).await > begun + 120.0
    })
    .await;
    assert_eq!(picture(&mut page, "requests-by-route").await, before);
    page.click(resume).await;
    changes(&mut page, "requests-by-route", &before).await;

    assert!(is_on(&mut page, "everyday").await);
    let outage = page.find("switch", "payment-outage").await;
    page.click(outage).await;
    let pressed = Instant::now();
    is_in_force(&server, "payment-outage").await;
    page.until(LIT).await;
    page.until("document.querySelector('#availability tbody tr').dataset.tone === 'bad'")
        .await;
    println!("the alert was lit after {:?}", pressed.elapsed());
    assert!(pressed.elapsed() < Duration::from_secs(60));
    assert!(is_on(&mut page, "payment-outage").await);
    says(&mut page, "burn-rate", "availability").await;

    let calm = page.find("switch", "calm").await;
    page.click(calm).await;
    is_in_force(&server, "calm").await;
    // The pair of windows that is shortest; the others go out later.
    page.until("document.querySelector('#availability tbody tr').dataset.tone === ''")
        .await;
    was_quiet(&mut page, &server, &[]).await;
}

#[tokio::test]
async fn a_page_left_open_finds_a_restarted_server_again() {
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
    is_live(&mut page).await;
    // Figures and switches are the new server's.
    server.concert(7).await;
    says(&mut page, "tickets-available", "nina-simone 7").await;
    let each = page.find("switch", "each").await;
    page.click(each).await;
    until("the commit is switched", async || {
        server.metric("ticket_commit_mode", &["\"each\""]).await == 1.0
    })
    .await;
    // The browser itself tells of connections that were refused or cut.
    was_quiet(&mut page, &server, &["net::ERR_"]).await;
}

#[tokio::test]
async fn hidden_tabs_leave_their_connections_to_the_others() {
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
    is_live(&mut first).await;
    let switch = first.find("switch", "brown-out").await;
    first.click(switch).await;
    is_in_force(&server, "brown-out").await;
    was_quiet(&mut first, &server, &[]).await;
}

#[tokio::test]
async fn switches_are_reached_and_pressed_with_the_keyboard_alone() {
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
        assert_ne!(outline.await, "none", "the focus is seen");
        page.press(key).await;
        is_in_force(&server, wanted).await;
        until("the switch is on", async || is_on(&mut page, wanted).await).await;
    }
    assert_eq!(reached[0], "Skip to the charts");
    was_quiet(&mut page, &server, &[]).await;
}

/// The dialog is there, and what is typed goes into its field.
async fn token_is_asked(page: &mut Page) {
    page.find("dialog", "Admin token").await;
    page.until("document.querySelector('dialog[open] input') === document.activeElement")
        .await;
}

#[tokio::test]
async fn the_token_is_asked_for_once_and_a_wrong_one_changes_nothing() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&["--admin-token", "s3cret"]);
    let mut page = open(&browser, &server).await;
    let faults = page.find("switch", "slow-database").await;

    page.click(faults).await;
    token_is_asked(&mut page).await;
    page.press("Escape").await;
    page.until("!document.querySelector('dialog[open]')").await;

    page.click(faults).await;
    token_is_asked(&mut page).await;
    page.write("wrong").await;
    page.press("Enter").await;
    page.until("document.getElementById('say').innerText.includes('could not be changed')")
        .await;
    assert_eq!(in_force(&server).await, "calm");

    page.click(faults).await;
    token_is_asked(&mut page).await;
    page.write("s3cret").await;
    page.press("Enter").await;
    is_in_force(&server, "slow-database").await;

    let brown_out = page.find("switch", "brown-out").await;
    page.click(brown_out).await;
    is_in_force(&server, "brown-out").await;
    assert!(page.all("dialog", None).await.is_empty());
    // The browser itself tells of answers that are errors.
    was_quiet(&mut page, &server, &["status of 401"]).await;
}

#[tokio::test]
async fn a_phone_needs_no_scrolling_to_the_side_in_light_or_dark() {
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
    is_live(&mut page).await;
    says(&mut page, "top-concerts", "radiohead").await;
    // The widest there is: a lit alert with its figures, and the books opened.
    server
        .put_faults(&json!({ "preset": "payment-outage" }))
        .await;
    page.until(LIT).await;
    let badge = page.all("DisclosureTriangle", None).await[0];
    page.click(badge).await;
    page.until("document.querySelector('#badges details[open]') !== null")
        .await;
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        page.command("Emulation.setEmulatedMedia", features).await;
        let [paper, ink] = colours(&mut page).await;
        assert_eq!(paper < ink, is_dark, "{scheme}: {ink} on {paper}");
        let contrast = (paper.max(ink) + 0.05) / (paper.min(ink) + 0.05);
        assert!(contrast > 7.0, "{scheme}: {contrast}");
        let wide = page.evaluate("[...document.querySelectorAll('*')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > 361).map(e => `${e.tagName}.${e.className} ${e.id} ${e.closest('[data-panel]')?.dataset.panel} ${e.getBoundingClientRect().right}`)").await;
        assert_eq!(wide, json!([]), "{scheme}");
        let width = page.evaluate("document.documentElement.scrollWidth").await;
        assert_eq!(width, 360);
    }
    page.click(badge).await;
    let button = page.find("button", "Light or dark").await;
    page.click(button).await;
    let [paper, ink] = colours(&mut page).await;
    assert!(
        ink < paper,
        "dark is what the system wants, light what was pressed"
    );
    was_quiet(&mut page, &server, &[]).await;
}

/// How bright the page and its text are, from 0 to 1, as WCAG counts it.
async fn colours(page: &mut Page) -> [f64; 2] {
    let colours = page
        .evaluate(
            "(() => { const { backgroundColor, color } = getComputedStyle(document.body); \
             const context = document.createElement('canvas').getContext('2d'); \
             return [backgroundColor, color].map(colour => { \
               context.fillStyle = colour; context.fillRect(0, 0, 1, 1); \
               return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3); }); })()",
        )
        .await;
    [0, 1].map(|which| {
        let part = |at: usize| {
            let part = colours[which][at].as_f64().unwrap() / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055f64).powf(2.4)
            }
        };
        0.2126 * part(0) + 0.7152 * part(1) + 0.0722 * part(2)
    })
}
