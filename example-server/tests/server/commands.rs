use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::process::{Server, program, sqlite, until, value};

/// Runs a command on a blocking thread, so that the connections of the test are still polled.
async fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn utf8(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[tokio::test]
async fn load_counts_the_same_requests_as_the_server() {
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
        "--timeout",
        "5m",
        "--json",
    ];
    let output = run(&load).await;
    assert!(output.status.success(), "{}", utf8(&output.stderr));
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
    // 600 requests were due, and one read the concerts.
    let unsent = report["unsent"].as_f64().unwrap();
    assert_eq!(total - 1.0 + unsent, 600.0, "{report}");
    assert!(total > 1.0, "{report}");
}

#[tokio::test]
async fn load_without_a_server_or_without_concerts_is_an_error() {
    let server = Server::start(&[]);
    let output = run(&["load", "--url", &server.api_url, "--duration", "1s"]).await;
    assert!(!output.status.success());
    assert!(utf8(&output.stderr).contains("no concerts to sell"));
    let output = run(&["load", "--url", "http://127.0.0.1:1", "--duration", "1s"]).await;
    assert!(!output.status.success());
    assert!(utf8(&output.stderr).contains("connection failed"));
}

#[tokio::test]
async fn the_faults_command_gets_sets_and_checks() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let url = ["--url", server.ops_url.as_str()];
    let refused = run(&["faults", "set", "brown-out", url[0], url[1]]).await;
    assert!(utf8(&refused.stderr).contains("401"));
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
    assert!(utf8(&run(&["faults", "presets"]).await.stdout).contains("payment-outage"));
    let unknown = run(&["faults", "set", "doomsday", url[0], url[1]]).await;
    assert!(
        utf8(&unknown.stderr).contains("payment-outage"),
        "{}",
        utf8(&unknown.stderr)
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
        utf8(&checked.stderr).contains("faults[0].operation"),
        "{}",
        utf8(&checked.stderr)
    );
}

#[tokio::test]
async fn the_demo_sells_immediately_and_creates_its_concerts_once() {
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
fn the_demo_prints_its_urls_without_colors_in_a_pipe() {
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
        format!("Live page  {ops}/ "),
        format!("{api}/docs"),
        format!("{ops}/metrics"),
        format!("{ops}/faults"),
    ] {
        assert!(said.contains(&url), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_prints_the_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, reason) in [
        (
            &["--listen", &taken][..],
            "; choose another address with --listen (LISTEN)",
        ),
        (
            &["--ops-listen", &taken],
            "; choose another address with --ops-listen (OPS_LISTEN)",
        ),
        (
            &["--listen", "127.0.0.1:1", "--ops-listen", "127.0.0.1:1"],
            "cannot both listen on 127.0.0.1:1: change --listen (LISTEN) or --ops-listen",
        ),
        (&["--database-url", "mysql://localhost"], "database"),
        (
            &["--database-url", "sqlite://nowhere/tickets.db"],
            "nowhere/tickets.db",
        ),
        (
            &["--faults", "/nowhere/faults.toml"],
            "/nowhere/faults.toml",
        ),
        (&["--commit", "some"], "some"),
        (&["--log-format", "xml"], "xml"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program();
        command
            .current_dir(&folder)
            .env("LISTEN", "127.0.0.1:0")
            .env("OPS_LISTEN", "127.0.0.1:0")
            .arg("serve");
        let output = command.args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            utf8(&output.stderr).contains(reason),
            "{}",
            utf8(&output.stderr)
        );
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_sqlite_file_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite(folder.path());
    // The first one ends normally and the second one is killed.
    for signal in ["TERM", "KILL"] {
        let mut server = Server::on(&url, &[]);
        server.concert(1_000).await;
        for command in ["serve", "demo"] {
            let second = program()
                .args([command, "--database-url", &url])
                .envs([("LISTEN", "127.0.0.1:0"), ("OPS_LISTEN", "127.0.0.1:0")])
                .output()
                .unwrap();
            let error = utf8(&second.stderr);
            assert_eq!(second.status.code(), Some(1), "{error}");
            assert!(
                error.contains(
                    "tickets.db is used by another server; choose another file with \
                     --database-url (DATABASE_URL)"
                ),
                "{error}"
            );
        }
        server.concert(1_000).await;
        server.signal(signal);
        server.ended().await;
    }
    let server = Server::on(&url, &[]);
    let concerts = value(&server.api.get("/concerts").await.unwrap());
    assert_eq!(concerts["items"].as_array().unwrap().len(), 4);
}

#[test]
fn a_command_ignores_the_variables_of_other_commands() {
    for (command, variable, rejected_flag) in [
        (&["openapi"][..], "LISTEN", None),
        (&["scenarios", "show", "calm-day"], "LISTEN", None),
        (&["faults", "presets"], "DEMO_RATE", None),
        (&["--version"], "LISTEN", None),
        (&["demo"], "LISTEN", Some("--listen")),
        (&["serve"], "LISTEN", Some("--listen")),
        (&[], "LISTEN", Some("--listen")),
        (&["--commit", "each"], "DEMO_RATE", Some("--rate")),
    ] {
        let output = program().args(command).env(variable, "bad").output();
        let output = output.unwrap();
        let error = utf8(&output.stderr);
        let status = if rejected_flag.is_some() { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(status), "{command:?}: {error}");
        assert!(error.contains(rejected_flag.unwrap_or("")), "{error}");
    }
}

#[test]
fn an_empty_log_filter_is_the_default() {
    // Starting waits for a line with the level INFO.
    Server::start(&["--log", ""]);
}

#[cfg(unix)]
#[test]
fn a_faults_file_that_is_not_a_small_regular_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (fifo, huge) = (folder.path().join("fifo"), folder.path().join("huge"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let file = std::fs::File::create(&huge).unwrap();
    file.set_len(300 * 1024 * 1024).unwrap();
    for (path, reason) in [
        (fifo.as_path(), "not a regular file"),
        (folder.path(), "not a regular file"),
        (std::path::Path::new("/dev/zero"), "not a regular file"),
        (huge.as_path(), "the limit is 1048576"),
    ] {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--ops-listen", "127.0.0.1:0", "--database-url"]);
        command.arg(sqlite(folder.path())).arg("--faults").arg(path);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{path:?}");
        let error = utf8(&output.stderr);
        assert!(error.contains(reason), "{error}");
    }
    let checked = program().args(["faults", "check"]).arg(&huge).output();
    let error = utf8(&checked.unwrap().stderr);
    assert!(error.contains("the limit is 1048576"), "{error}");
    let endless = program().args(["faults", "set", "/dev/zero"]).output();
    let error = utf8(&endless.unwrap().stderr);
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn an_invalid_secret_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, value) in [
        ("ADMIN_TOKEN", "hunter2 hunter2"),
        ("ADMIN_TOKEN", "hunter2\nhunter2"),
        ("ADMIN_TOKEN", "hunter2\n\n"),
        ("ADMIN_TOKEN", "hünter2"),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "sqlite://hunter2.db\n\n"),
        (
            "DATABASE_URL",
            "postgres://ada:hunter2/@127.0.0.1:1/tickets",
        ),
        (
            "DATABASE_URL",
            "postgres://ada:hunter2?@127.0.0.1:1/tickets",
        ),
        (
            "DATABASE_URL",
            "postgres://ada:x&hunter2?hunter2=1@127.0.0.1:1/tickets",
        ),
        (
            "DATABASE_URL",
            "postgres://ada:hunter2%@127.0.0.1:1/tickets",
        ),
    ] {
        for command in ["serve", "demo"] {
            let output = program()
                .arg(command)
                .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
                .env(variable, value)
                .current_dir(&folder)
                .output()
                .unwrap();
            let said = utf8(&output.stderr) + &utf8(&output.stdout);
            assert!(!output.status.success(), "{value:?}: {said}");
            assert!(!said.contains("nter2"), "{value:?}: {said}");
            let subject = match variable {
                "ADMIN_TOKEN" => "--admin-token",
                _ => "database",
            };
            assert!(said.contains(subject), "{value:?}: {said}");
        }
    }
    for (command, variable) in [("load", "LOAD_URL"), ("faults", "OPS_URL")] {
        for url in ["http://ada:hunter2@127.0.0.1:1", "hunter2"] {
            let output = program().arg(command).env(variable, url).output().unwrap();
            let said = utf8(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(
                !said.contains("hunter2") && said.contains("--url"),
                "{said}"
            );
            let help = program()
                .args([command, "--help"])
                .env(variable, url)
                .output();
            assert!(!utf8(&help.unwrap().stdout).contains("hunter2"));
        }
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_secret_with_a_trailing_line_break_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}\n", sqlite(folder.path()));
    let server = Server::on(&url, &["--admin-token", "s3cret\n"]);
    let set = ["faults", "set", "calm", "--url", &server.ops_url];
    assert!(!run(&set).await.status.success());
    for token in ["s3cret", "s3cret\n"] {
        let set = [&set[..], &["--admin-token", token]].concat();
        assert!(run(&set).await.status.success(), "{token:?}");
    }
    let created = std::fs::read_dir(&folder).unwrap();
    let names: Vec<_> = created.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name == "tickets.db"), "{names:?}");
}

/// Runs a command whose standard output is a pipe with a closed read end.
fn with_closed_stdout(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = program()
        .args(arguments)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap().wait_with_output().unwrap()
}

#[tokio::test]
async fn a_command_with_a_closed_stdout_exits_with_0() {
    let server = Server::start(&[]);
    server.concert(1_000_000).await;
    let (api, ops) = (server.api_url.as_str(), server.ops_url.as_str());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    std::fs::write(&file, "preset = \"calm\"\n").unwrap();
    let out = folder.path().join("out");
    let file = file.to_str().unwrap();
    let load = ["load", "--url", api, "--duration", "100ms"];
    let load_json = [&load[..], &["--json"]].concat();
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["--version"],
        &["openapi"],
        &["dashboards", "--out", out.to_str().unwrap()],
        &["faults", "--url", ops],
        &["faults", "set", "calm", "--url", ops],
        &["faults", "presets"],
        &["faults", "check", file],
        &load,
        &load_json,
    ];
    for arguments in commands {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        let output = tokio::task::spawn_blocking(move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            (with_closed_stdout(&arguments), arguments.join(" "))
        });
        let (output, command) = output.await.unwrap();
        let error = utf8(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {error}");
        assert!(!error.contains("panicked"), "{command}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let output = program().arg("openapi").stdout(full.unwrap()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = utf8(&output.stderr);
    assert!(error.contains("cannot write to standard output"), "{error}");
    assert!(error.contains("No space left"), "{error}");
}

/// Starts a command and sends it a signal as soon as `when` holds.
async fn interrupted(arguments: &[&str], signal: &str, when: impl AsyncFnMut() -> bool) -> Output {
    let child = program()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the load is under way", when).await;
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args([format!("-{signal}"), pid])
        .status();
    assert!(sent.unwrap().success());
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_load_reports_only_requests_that_were_due() {
    for signal in ["INT", "TERM"] {
        let server = Server::start(&[]);
        server.concert(1_000_000).await;
        let url = server.api_url.clone();
        let load = [
            "load",
            "--url",
            &url,
            "--rate",
            "100",
            "--duration",
            "1h",
            "--json",
        ];
        let output = interrupted(&load, signal, async || server.requests(&[]).await > 30.0).await;
        assert!(output.status.success(), "{}", utf8(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        assert_eq!((number("failed"), number("unsent")), (0, 0), "{report}");
        // One request reads the concerts.
        assert_eq!(
            number("requests") - 1 + number("skipped"),
            360_000,
            "{report}"
        );
    }
}

#[tokio::test]
async fn load_with_more_failures_than_allowed_exits_with_1() {
    let server = Server::start(&[]);
    server.concert(1_000_000).await;
    server
        .put_faults(&serde_json::json!({ "faults": [
            { "operation": "read_concert", "fail": { "as": "unavailable" } },
        ] }))
        .await;
    let load = [
        "load",
        "--url",
        &server.api_url,
        "--rate",
        "300",
        "--duration",
        "1s",
    ];
    let output = run(&load).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(utf8(&output.stdout).contains("latency from scheduled start"));
    let error = utf8(&output.stderr);
    assert!(error.contains("requests failed"), "{error}");
    let tolerant = run(&[&load[..], &["--max-failures", "90"]].concat()).await;
    assert!(tolerant.status.success(), "{}", utf8(&tolerant.stderr));
}

/// A server that accepts connections and never responds.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn load_reports_that_it_is_waiting_for_a_hung_server_and_times_out() {
    let (_listener, url) = silent();
    let output = run(&["load", "--url", &url, "--timeout", "2s"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = utf8(&output.stderr);
    assert!(error.contains("waiting up to 2s for a response"), "{error}");
    assert!(error.contains("no response within 2s"), "{error}");
}

#[tokio::test]
async fn load_ends_if_the_server_repeats_an_empty_page() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 4096]).await;
            let page = r#"{"items":[],"next_cursor":"00000000000000000000000000000001"}"#;
            let length = page.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            _ = stream.write_all((head + page).as_bytes()).await;
        }
    });
    let output = run(&["load", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = utf8(&output.stderr);
    assert!(error.contains("no concerts to sell"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn after_a_second_signal_load_does_not_wait_for_responses() {
    let server = Server::start(&["--request-timeout", "1h"]);
    server.concert(1_000_000).await;
    let url = server.api_url.clone();
    let hang = serde_json::json!({ "fixed": { "ms": 60_000 } });
    server
        .put_faults(
            &serde_json::json!({ "faults": [{ "operation": "read_concert", "delay": hang }] }),
        )
        .await;
    let mut load = program()
        .args([
            "load",
            "--url",
            &url,
            "--rate",
            "500",
            "--timeout",
            "1h",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("requests hang", async || server.in_flight().await > 10.0).await;
    let pid = load.id().to_string();
    let kill = || {
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
    };
    assert!(kill().unwrap().success());
    let mut stderr = BufReader::new(load.stderr.take().unwrap()).lines();
    let line = stderr.next().unwrap().unwrap();
    assert!(line.contains("a second signal does not wait"), "{line}");
    assert!(kill().unwrap().success());
    let output = tokio::task::spawn_blocking(move || load.wait_with_output().unwrap());
    let output = output.await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["abandoned"].as_u64().unwrap() > 10, "{report}");
    assert_eq!(report["failed"], 0, "{report}");
}
