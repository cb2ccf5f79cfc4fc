use std::process::Command;

use serde_json::Value;

use crate::process::program;

#[test]
fn overload_measures_a_server_without_the_token_and_the_faults_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let output = program()
        .args(["overload", "--clients", "4", "--rounds", "1", "--json"])
        .args(["--duration", "2s"])
        .env("TMPDIR", folder.path())
        .env("ADMIN_TOKEN", "s3cret")
        .env("FAULTS", "missing.toml")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let round = &report["rounds"][0];
    for load in ["peak", "storm"] {
        assert!(round[load]["per_s"].as_f64().unwrap() > 0.0, "{report}");
    }
    let left = folder.path().read_dir().unwrap().count();
    assert_eq!(left, 0, "the database is not deleted");
}

#[test]
fn more_clients_than_the_open_file_limit_allows_are_rejected() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 256 && exec \"$0\" overload --clients 500"])
        .arg(program().get_program())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("--clients 500 is more than the open file limit allows, at most 160"),
        "{error}"
    );
}
