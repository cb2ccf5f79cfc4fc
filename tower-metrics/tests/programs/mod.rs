//! Programs that judge what we write, where they are installed.

use std::env;
use std::io::Write;
use std::process::{Command, Stdio};

/// Whether a program can be run; where `CI` is set it has to be there.
pub(crate) fn present(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let present = status.is_ok_and(|status| status.success());
    if !present {
        let missing = format!("`{program} {}` does not work here", arguments.join(" "));
        assert!(env::var_os("CI").is_none(), "{missing}");
        eprintln!("skipped: {missing}");
    }
    present
}

/// A Python that has prometheus_client: `PYTHON`, or the usual one.
pub(crate) fn python() -> Option<String> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    present(&python, &["-c", "import prometheus_client"]).then_some(python)
}

/// What a program says of its input: whether it is content, and its words.
pub(crate) fn judge(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
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
    let words = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(words).unwrap())
}
