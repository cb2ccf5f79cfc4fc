use http::Method;
use serde_json::{Value, json};

use crate::process::{Server, program, send, text, until, value};

const FILE: &str = r#"
note = "Two steps."
seed = 1

[[steps]]
at = 0
preset = "everyday"
note = "Before"

[[steps]]
at = 0.3
faults = [{ operation = "payment", fail.as = "declined" }]
traffic = 2
note = "Every payment is declined"
"#;

async fn status(server: &Server) -> Value {
    value(&server.ops.get("/scenario").await.unwrap())
}

async fn put(server: &Server, scenario: Value) -> Value {
    let body = json!({ "scenario": scenario });
    let response = send(&server.ops, Method::PUT, "/scenario", &[], Some(&body)).await;
    assert_eq!(response.status, 200);
    value(&response)
}

async fn faults(server: &Server) -> (String, String) {
    let response = server.ops.get("/faults").await.unwrap();
    let header = |name: &str| response.headers[name].to_str().unwrap().to_owned();
    (header("faults-name"), header("faults-source"))
}

#[tokio::test]
async fn a_scenario_from_a_file_plays_from_the_start_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outage.toml");
    std::fs::write(&path, FILE).unwrap();
    let server = Server::start(&["--scenario", path.to_str().unwrap()]);
    until("the last step is in force", async || {
        status(&server).await["step"] == 2
    })
    .await;
    let status = status(&server).await;
    assert_eq!(status["scenario"], "outage");
    assert_eq!(status["steps"], 2);
    assert_eq!(status["note"], "Every payment is declined");
    assert_eq!(status["traffic"], 2.0);
    assert_eq!(status["until"], Value::Null);
    assert_eq!(faults(&server).await, ("custom".into(), "scenario".into()));
    let first = server.logs("scenario step");
    assert_eq!(first["fields"]["note"], "Before");
    assert_eq!(server.logs("scenario step")["fields"]["step"], 2);

    let concert = server.concert(10).await;
    let order = json!({ "buyer": "Ada", "quantity": 1 });
    let path = format!("/concerts/{concert}/purchases");
    assert_eq!(server.post(&path, &order).await.status, 402);

    for (preset, active) in [("scenario", 1.0), ("custom", 0.0), ("everyday", 0.0)] {
        let labels = [preset];
        let value = server.metric("ticket_faults_preset", &labels).await;
        assert_eq!(value, active, "{preset}");
    }
    let controls = value(&server.ops.get("/api/controls").await.unwrap());
    let shown = |title: &str, field: &str| {
        let mut controls = controls.as_array().unwrap().iter();
        text(&controls.find(|it| it["title"] == title).unwrap()[field]).to_owned()
    };
    assert_eq!(shown("Faults", "value"), "outage 2/2");
    assert_eq!(shown("Scenario", "value"), "outage");
    assert_eq!(
        shown("Scenario", "detail"),
        "2/2: Every payment is declined"
    );
    for (note, in_force) in [("Before", 0.0), ("Every payment is declined", 1.0)] {
        let labels = ["outage", note];
        let step = server.metric("ticket_scenario_step", &labels).await;
        assert_eq!(step, in_force, "{note}");
    }
}

#[tokio::test]
async fn a_scenario_is_started_and_ended_over_http() {
    let server = Server::start(&[]);
    assert_eq!(status(&server).await, json!({ "scenario": null }));
    let playing = put(&server, json!("bad-deploy")).await;
    assert_eq!(
        (&playing["scenario"], &playing["step"], &playing["steps"]),
        (&json!("bad-deploy"), &json!(1), &json!(4))
    );
    assert!(text(&playing["since"]) < text(&playing["until"]));
    assert_eq!(faults(&server).await.0, "everyday");
    assert_eq!(put(&server, json!("black-friday")).await["steps"], 7);
    assert_eq!(put(&server, Value::Null).await, json!({ "scenario": null }));
    assert_eq!(faults(&server).await, ("calm".into(), "scenario".into()));
}

#[tokio::test]
async fn a_request_for_a_scenario_that_does_not_exist_lists_those_that_do() {
    let server = Server::start(&[]);
    for (body, status, detail) in [
        (
            json!({ "scenario": "cyber-monday" }),
            422,
            "expected one of calm-day, black-friday, bad-deploy, or null",
        ),
        (json!({ "scenario": 7 }), 422, "expected"),
        (json!({ "name": "calm-day" }), 422, "unknown field `name`"),
        (json!({}), 422, "missing field `scenario`"),
        (json!(["calm-day"]), 422, "invalid type: sequence"),
    ] {
        let response = send(&server.ops, Method::PUT, "/scenario", &[], Some(&body)).await;
        assert_eq!(response.status, status, "{body}");
        let problem = text(&value(&response)["detail"]);
        assert!(problem.contains(detail), "{problem}");
    }
}

#[tokio::test]
async fn the_admin_token_is_required_to_play_a_scenario() {
    let server = Server::start(&["--admin-token", "s3cret"]);
    let body = json!({ "scenario": "calm-day" });
    let put = async |headers: &[(&'static str, &str)]| {
        let response = send(&server.ops, Method::PUT, "/scenario", headers, Some(&body));
        response.await.status
    };
    assert_eq!(put(&[]).await, 401);
    assert_eq!(status(&server).await["scenario"], Value::Null);
    assert_eq!(put(&[("authorization", "Bearer s3cret")]).await, 200);
    assert_eq!(status(&server).await["scenario"], "calm-day");
}

#[tokio::test]
async fn the_live_page_shows_the_step_in_force() {
    let server = Server::start(&[]);
    let shown = async || {
        let now = value(&server.ops.get("/api/now").await.unwrap());
        [&now["controls"], &now["control_details"]].map(|of| of["scenario"].clone())
    };
    let none = [json!("none"), Value::Null];
    until("no scenario is shown", async || shown().await == none).await;
    let body = json!({ "value": "bad-deploy" });
    let path = "/api/controls/scenario";
    let response = send(&server.ops, Method::PUT, path, &[], Some(&body)).await;
    assert_eq!(response.status, 200, "{:?}", response.body);
    assert_eq!(
        value(&response),
        json!({ "value": "bad-deploy", "detail": "1/4: The old version" })
    );
    until("the step is shown", async || {
        shown().await == ["bad-deploy", "1/4: The old version"]
    })
    .await;
}

/// Runs the program and returns its exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = program().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_command_lists_shows_and_checks_scenarios() {
    let (_, list, _) = run(&["scenarios"]);
    for name in ["calm-day", "black-friday", "bad-deploy"] {
        assert!(list.contains(name), "{list}");
        let (code, shown, _) = run(&["scenarios", "show", name]);
        assert_eq!(code, Some(0));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.toml");
        std::fs::write(&path, &shown).unwrap();
        let (code, checked, _) = run(&["scenarios", "check", path.to_str().unwrap()]);
        assert_eq!(code, Some(0));
        assert!(checked.starts_with("copy: "), "{checked}");
        assert!(checked.contains("\n      0s  traffic x "), "{checked}");
        assert_eq!(
            checked.matches("traffic x ").count(),
            shown.matches("[[steps]]").count()
        );
    }
}

#[test]
fn an_invalid_scenario_is_reported_with_its_position_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    std::fs::write(&path, FILE.replace("everyday", "everyda")).unwrap();
    let path = path.to_str().unwrap();
    let invalid = format!(
        "{path}:7:10 is invalid: steps[0].preset: \"everyda\" is not allowed: expected one of calm, everyday,"
    );
    for arguments in [
        &["scenarios", "check", path][..],
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--scenario",
            path,
        ],
    ] {
        let (code, _, error) = run(arguments);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&invalid), "{error}");
    }
    let (code, _, error) = run(&["serve", "--scenario", "cyber-monday"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("cyber-monday is neither a scenario (calm-day, black-friday, bad-deploy) nor a readable file"),
        "{error}"
    );
    let (code, _, error) = run(&["serve", "--scenario", "calm-day", "--faults", path]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot be used with"), "{error}");
}

#[tokio::test]
async fn the_command_plays_a_scenario_on_a_running_server() {
    let server = Server::start(&[]);
    let scenarios = async |arguments: &[&str]| {
        let mut all = vec!["scenarios", "--url", &server.ops_url];
        all.extend(arguments);
        run(&all)
    };
    let (code, played, _) = scenarios(&["play", "black-friday"]).await;
    assert_eq!(code, Some(0));
    assert!(played.contains("\"note\":\"Before the sale\""), "{played}");
    let (_, status, _) = scenarios(&["status"]).await;
    assert!(status.contains("black-friday"), "{status}");
    let (_, stopped, _) = scenarios(&["stop"]).await;
    assert_eq!(stopped.trim(), "{\"scenario\":null}");
    let (code, _, error) = scenarios(&["play", "cyber-monday"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("expected one of calm-day"), "{error}");
}
