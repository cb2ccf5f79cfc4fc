use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::process::{Server, program, sqlite, until, value};

/// Runs a command in a thread, so that the test's own connections go on.
async fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn says(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[tokio::test]
async fn the_load_counts_what_the_server_counts() {
    let server = Server::start(&[]);
    server.concert(1_000_000).await;
    let url = server.api_url.clone();
    let load = [
        "load",
        "--url",
        &url,
        "--rate",
        "300",
        "--duration",
        "2s",
        "--users",
        "16",
        "--json",
    ];
    let output = run(&load).await;
    assert!(output.status.success(), "{}", says(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    until("nothing is in flight", async || {
        server.in_flight().await == 0.0
    })
    .await;
    let mut total = 0.0;
    for count in report["counts"].as_array().unwrap() {
        let pairs = [
            format!(
                "http_request_method=\"{}\"",
                count["method"].as_str().unwrap()
            ),
            format!("http_route=\"{}\"", count["route"].as_str().unwrap()),
            format!(
                "http_response_status_code=\"{}\"",
                count["status"].as_str().unwrap()
            ),
        ];
        let counted = server.requests(&pairs.each_ref().map(String::as_str)).await;
        assert_eq!(count["count"].as_f64().unwrap(), counted, "{count}");
        total += counted;
    }
    // The concert was not created by the load.
    assert_eq!(server.requests(&[]).await, total + 1.0);
    assert_eq!(report["requests"].as_f64().unwrap(), total);
    assert_eq!(report["failed"], 0);
    assert!(total > 500.0, "{report}");
}

#[tokio::test]
async fn a_load_without_a_server_or_without_concerts_says_so() {
    let server = Server::start(&[]);
    let output = run(&["load", "--url", &server.api_url, "--duration", "1s"]).await;
    assert!(!output.status.success());
    assert!(says(&output.stderr).contains("no concerts to sell"));
    let output = run(&["load", "--url", "http://127.0.0.1:1", "--duration", "1s"]).await;
    assert!(!output.status.success());
    assert!(says(&output.stderr).contains("no connection"));
}

#[tokio::test]
async fn the_faults_command_shows_sets_and_checks() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let url = ["--url", server.ops_url.as_str()];
    let refused = run(&["faults", "set", "brown-out", url[0], url[1]]).await;
    assert!(says(&refused.stderr).contains("401"));
    let set = [
        "faults",
        "set",
        "brown-out",
        "--admin-token",
        "s3cret",
        url[0],
        url[1],
    ];
    assert!(run(&set).await.status.success());
    let shown = run(&["faults", url[0], url[1]]).await;
    let document: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(document, value(&server.ops.get("/faults").await.unwrap()));
    assert!(says(&run(&["faults", "presets"]).await.stdout).contains("payment-outage"));
    let unknown = run(&["faults", "set", "doomsday", url[0], url[1]]).await;
    assert!(
        says(&unknown.stderr).contains("payment-outage"),
        "{}",
        says(&unknown.stderr)
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.json");
    std::fs::write(
        &file,
        r#"{"faults":[{"operation":"nap","fail":{"as":"declined"}}]}"#,
    )
    .unwrap();
    let checked = run(&["faults", "check", file.to_str().unwrap()]).await;
    assert!(
        says(&checked.stderr).contains("faults[0].operation"),
        "{}",
        says(&checked.stderr)
    );
}

#[tokio::test]
async fn the_demo_sells_from_the_first_seconds_and_seeds_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    for _ in 0..2 {
        let mut server = Server::run("demo", &url, &["--rate", "200"]);
        until("tickets are sold", async || {
            server.metric("tickets_sold_total", &[]).await > 10.0
        })
        .await;
        let faults = server.ops.get("/faults").await.unwrap();
        assert_eq!(faults.headers["faults-name"], "everyday");
        let page = server.api.get("/concerts?limit=100").await.unwrap();
        assert_eq!(value(&page)["items"].as_array().map(Vec::len), Some(12));
        server.signal("TERM");
        assert!(server.ended().await.success());
    }
}

#[test]
fn the_demo_says_what_it_serves_and_where_without_colours_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = program()
        .args(["demo", "--database-url", &sqlite(folder.path())])
        .envs([("LISTEN", "127.0.0.1:0"), ("OPS_LISTEN", "127.0.0.1:0")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines.map_while(Result::ok) {
        said += &line;
        said.push('\n');
        if line.contains("serving") {
            break;
        }
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(!said.contains('\x1b'), "{said:?}");
    let address = |name: &str| {
        let (_, rest) = said.split_once(&format!(" {name}=")).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let (api, ops) = (address("api"), address("ops"));
    for url in [
        format!("live page  {ops}/ "),
        format!("{api}/docs"),
        format!("{ops}/metrics"),
        format!("{ops}/faults"),
    ] {
        assert!(said.contains(&url), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, reason) in [
        (["--listen", &taken], "cannot listen on"),
        (["--database-url", "mysql://localhost"], "database"),
        (
            ["--database-url", "sqlite://nowhere/tickets.db"],
            "nowhere/tickets.db",
        ),
        (["--faults", "/nowhere/faults.toml"], "/nowhere/faults.toml"),
        (["--commit", "some"], "some"),
        (["--log-format", "xml"], "xml"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program();
        command
            .current_dir(&folder)
            .args(["serve", "--ops-listen", "127.0.0.1:0"]);
        if arguments[0] != "--listen" {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = command.args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            says(&output.stderr).contains(reason),
            "{}",
            says(&output.stderr)
        );
    }
}
