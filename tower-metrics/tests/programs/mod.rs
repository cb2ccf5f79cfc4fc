//! External programs that check the exposition, if they are installed.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Returns whether a program can be run. Panics if it cannot and `CI` is set.
pub(crate) fn present(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let present = status.is_ok_and(|status| status.success());
    if !present {
        let missing = format!(
            "`{program} {}` failed or is not installed",
            arguments.join(" ")
        );
        assert!(env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
    }
    present
}

/// Returns Prometheus 3 or later: the one in `$PROMETHEUS3_DIR`, or the one in `PATH`.
/// Debian's version is older, so that its absence is no failure even if `CI` is set.
pub(crate) fn prometheus_3() -> Option<PathBuf> {
    let directory = env::var_os("PROMETHEUS3_DIR").map(PathBuf::from);
    let program = directory.unwrap_or_default().join("prometheus");
    let output = Command::new(&program).arg("--version").output();
    let version = output.map(|output| [output.stdout, output.stderr].concat());
    let major = version.ok().and_then(|version| {
        let version = String::from_utf8(version).ok()?;
        let version = version.strip_prefix("prometheus, version ")?;
        version.split('.').next()?.parse::<u32>().ok()
    });
    if major.is_some_and(|major| major >= 3) {
        return Some(program);
    }
    eprintln!("skipped: Prometheus 3 is neither in `$PROMETHEUS3_DIR` nor in `PATH`");
    None
}

/// Returns a Python interpreter with prometheus_client: `$PYTHON` or `python3`.
pub(crate) fn python() -> Option<String> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    present(&python, &["-c", "import prometheus_client"]).then_some(python)
}

/// Runs a program and returns whether it succeeded, and its output.
pub(crate) fn check(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}
