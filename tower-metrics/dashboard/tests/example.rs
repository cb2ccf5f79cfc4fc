//! Runs the example `live_page`, which `cargo test` builds, and requests the page as a browser does.
#![cfg(all(unix, feature = "live"))]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start() -> (Example, String) {
    let test = std::env::current_exe().unwrap();
    let program = test
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join("live_page");
    assert!(program.exists(), "{program:?} is not built");
    let mut child = Command::new(program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let example = Example(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (example, line.trim().to_owned())
}

async fn get(url: String) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn the_example_serves_its_page_assets_and_panels() {
    let (_example, url) = start();
    let (status, page) = get(url.clone()).await;
    assert_eq!(status, 200);
    assert!(page.contains("<title>Ticket shop</title>"), "{page}");
    let assets: Vec<_> = page
        .split('"')
        .filter(|text| text.starts_with("?asset="))
        .collect();
    assert!(assets.len() >= 4, "{assets:?}");
    for asset in assets.into_iter().chain(["/", "/assets/main.js"]) {
        assert_eq!(get(format!("{url}{asset}")).await.0, 200, "{asset}");
    }
    let (status, panel) = get(format!("{url}/api/panels/requests")).await;
    assert_eq!((status, &panel[..5]), (200, "{\"t\":"));
}
