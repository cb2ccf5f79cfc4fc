//! Counts instructions by running the current program again under callgrind.

use std::error::Error;
use std::process::{Command, Stdio};

/// Returns whether valgrind is installed.
pub fn is_present() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Runs this program with the arguments and returns callgrind's profile.
///
/// # Errors
///
/// Returns an error if valgrind is not installed or fails.
pub fn profile(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = tempfile::NamedTempFile::new()?;
    let file = output.path().display();
    let ran = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={file}"))
        .arg(std::env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !ran.status.success() {
        let text = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("valgrind failed:\n{text}").into());
    }
    Ok(std::fs::read_to_string(output.path())?)
}

/// Returns the instructions of this program with the arguments.
///
/// # Errors
///
/// Returns an error if valgrind is not installed or fails.
pub fn instructions(arguments: &[&str]) -> Result<u64, Box<dyn Error>> {
    let profile = profile(arguments)?;
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.ok_or("callgrind wrote no total")?;
    Ok(total.trim().parse()?)
}
