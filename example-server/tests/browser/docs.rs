//! Drives the documentation page.

use serde_json::json;

use crate::chromium::{Browser, Page};
use crate::process::{Server, value};

/// Opens the documentation page and waits until Swagger UI shows the operations.
async fn open(browser: &Browser, server: &Server, fragment: &str, width: u32) -> Page {
    let mut page = browser.page().await;
    let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
    page.command("Emulation.setDeviceMetricsOverride", size)
        .await;
    page.open(&format!("{}/docs{fragment}", server.api_url))
        .await;
    page.until("document.querySelectorAll('.opblock').length > 5")
        .await;
    page
}

/// Asserts that the page loaded everything from the server and logged no errors, such as violations of
/// its content security policy.
fn assert_own(page: &Page, server: &Server) {
    let is_own = |url: &&String| url.starts_with(&server.api_url) || url.starts_with("data:");
    let others: Vec<_> = page.requests.iter().filter(|url| !is_own(url)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(page.errors.is_empty(), "{:#?}", page.errors);
}

#[tokio::test]
async fn a_request_that_is_tried_out_on_the_documentation_page_creates_a_concert() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&["--admin-token", "s3cret"]);
    let mut page = open(&browser, &server, "", 1280).await;
    let operation = "document.getElementById('operations-concerts-createConcert')";
    page.evaluate(&format!(
        "{operation}.querySelector('.opblock-summary-control').click()"
    ))
    .await;
    let execute = format!("{operation}.querySelector('.execute')");
    page.until(&format!("{execute} !== null")).await;
    // "Execute" does nothing until Swagger UI has filled in the example of the body.
    page.until(&format!(
        "{operation}.querySelector('textarea')?.value.length > 0"
    ))
    .await;
    let status =
        format!("{operation}.querySelector('.live-responses-table tbody .response-col_status')");

    page.evaluate(&format!("{execute}.click()")).await;
    page.until(&format!("{status}?.innerText.startsWith('401')"))
        .await;
    page.errors.clear();

    page.evaluate("document.querySelector('.btn.authorize').click()")
        .await;
    page.until("document.querySelector('.auth-container input') !== null")
        .await;
    // React listens to input events and reads the value through the setter of the prototype.
    page.evaluate(
        "(input => { \
           Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, 's3cret'); \
           input.dispatchEvent(new Event('input', { bubbles: true })); \
         })(document.querySelector('.auth-container input'))",
    )
    .await;
    page.evaluate("document.querySelector('.auth-container .authorize').click()")
        .await;
    page.until("document.querySelector('.auth-container input') === null")
        .await;
    page.evaluate(&format!("{execute}.click()")).await;
    page.until(&format!("{status}?.innerText.startsWith('201')"))
        .await;
    assert_own(&page, &server);

    let concerts = value(&server.api.get("/concerts").await.unwrap());
    assert_eq!(concerts["items"][0]["slug"], "radiohead-berlin");
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_row_of_the_documentation_page() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server, "#sold-out", 1280).await;
    page.until(
        "(box => box.top >= 0 && box.bottom <= innerHeight)\
         (document.querySelector('tr:target')?.getBoundingClientRect() ?? { top: -1 })",
    )
    .await;
    let row = page
        .evaluate("document.querySelector('tr:target').id")
        .await;
    assert_eq!(row, "sold-out");
    assert_own(&page, &server);
}

#[tokio::test]
async fn the_documentation_page_fits_a_narrow_screen() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(&[]);
    let mut page = open(&browser, &server, "", 360).await;
    let broken = "[...document.querySelectorAll('.problems td:first-child a, .opblock-tag p')]\
                  .filter(e => e.innerText.trim() && e.getClientRects().length > 1 || e.offsetHeight > 40)\
                  .map(e => e.innerText)";
    assert_eq!(page.evaluate(broken).await, json!([]));
    let operations = "[...document.querySelectorAll('.opblock-summary-control')]";
    page.evaluate(&format!("{operations}.forEach(it => it.click())"))
        .await;
    page.until("document.querySelectorAll('.opblock-body').length > 5")
        .await;
    let root = "document.documentElement";
    let overflow = format!("{root}.scrollWidth - {root}.clientWidth");
    assert_eq!(page.evaluate(&overflow).await, 0);
    assert_own(&page, &server);
}
