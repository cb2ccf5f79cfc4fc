//! Plays the labs of `docs/labs.md`: runs the commands and compares their output with the document.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::process::PATIENT;

const LABS: &str = include_str!("../../docs/labs.md");
/// Separates the outputs of the blocks of commands.
const SEPARATOR: char = '\u{1e}';
/// Time limit of a lab: some wait until a metric has a value.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Time limit of the commands that end a lab.
const GRACE: Duration = Duration::from_secs(30);

/// A block of commands, and the output that follows it in the document.
#[derive(Debug)]
struct Block<'a> {
    info: &'a str,
    commands: String,
    output: Option<String>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let code = lines.by_ref().take_while(|line| *line != "```");
        let code = code.map(|line| format!("{line}\n")).collect();
        if info == "text" {
            blocks.last_mut().unwrap().output = Some(code);
        } else {
            assert!(info.starts_with("sh"), "{info}");
            blocks.push(Block {
                info,
                commands: code,
                output: None,
            });
        }
    }
    blocks
}

/// Returns whether each line of `output` is the one in the document, where `…` stands for anything.
fn matches(output: &str, documented: &str) -> bool {
    let line_matches = |line: &str, documented: &str| {
        let mut rest = line;
        let parts: Vec<_> = documented.split('…').collect();
        let (last, parts) = parts.split_last().unwrap();
        parts
            .iter()
            .enumerate()
            .all(|(index, part)| match rest.find(part) {
                Some(at) if index > 0 || at == 0 => {
                    rest = &rest[at + part.len()..];
                    true
                }
                _ => false,
            })
            && match parts.is_empty() {
                true => rest == *last,
                false => rest.ends_with(last),
            }
    };
    output.lines().count() == documented.lines().count()
        && output
            .lines()
            .zip(documented.lines())
            .all(|(line, documented)| line_matches(line, documented))
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn is_installed(name: &str) -> bool {
    let version = Command::new(name).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Runs a command. After `timeout`, terminates it, so that it fails, and kills the processes that
/// are left of it after `grace`.
fn run(mut command: Command, timeout: Duration, grace: Duration) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let id = Pid::from_child(&child);
    let (sender, output) = mpsc::channel();
    // Reads to the end of the output, which every process of the group may hold open. Until then,
    // the child is not reaped, and its ID is that of the group.
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    if let Ok(output) = output.recv_timeout(timeout) {
        return output;
    }
    kill_process(id, Signal::TERM).unwrap();
    output.recv_timeout(grace).unwrap_or_else(|_| {
        kill_process_group(id, Signal::KILL).unwrap();
        let output = output.recv_timeout(TIMEOUT);
        output.expect("no process has left the group")
    })
}

fn play(number: usize) {
    let mut sections = LABS.split("\n## Lab ");
    let introduction = sections.next().unwrap();
    let lab = sections.nth(number - 1).unwrap();
    assert!(lab.starts_with(&format!("{number}: ")));
    let functions = blocks(introduction);
    let functions = functions.iter().find(|it| it.info == "sh functions");
    let blocks = blocks(lab);
    if blocks.iter().any(|it| it.info == "sh locust") && !is_installed("locust") {
        assert!(std::env::var_os("CI").is_none(), "locust is not installed");
        eprintln!("skipped: locust is not installed");
        return;
    }

    // The server that the commands start ends with the shell, and so does what is left of the load.
    let mut script =
        "trap 'kill -KILL $server $(jobs -p) 2>/dev/null; wait; rm -rf \"$folder\"' EXIT\nset -e\n"
            .to_owned();
    script.push_str(&functions.unwrap().commands);
    for block in &blocks {
        script.push_str(&block.commands);
        script.push_str(&format!("printf '{SEPARATOR}'\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.sh");
    fs::write(&path, script).unwrap();
    let mut shell = Command::new("bash");
    shell
        .arg(&path)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("TMPDIR", folder.path())
        .env("tickets", env!("CARGO_BIN_EXE_example-server"))
        .env("api", free_address())
        .env("OPS_URL", free_address())
        .envs(PATIENT)
        .env_remove("ADMIN_TOKEN");
    let output = run(shell, TIMEOUT, GRACE);
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    let outputs: Vec<_> = printed.split(SEPARATOR).collect();
    assert_eq!(outputs.len(), blocks.len() + 1, "{printed}\n{errors}");
    for (output, block) in outputs.iter().zip(&blocks) {
        if let Some(documented) = &block.output {
            let commands = &block.commands;
            assert!(
                matches(output, documented),
                "{commands}\nprinted\n{output}\ninstead of\n{documented}\n{errors}"
            );
        }
    }
}

macro_rules! labs {
    ($($name:ident = $number:literal;)*) => {
        $(
            #[test]
            fn $name() {
                play($number);
            }
        )*

        #[test]
        fn every_lab_is_played_and_has_a_question_and_an_answer() {
            let labs: Vec<_> = LABS.split("\n## Lab ").skip(1).collect();
            assert_eq!(labs.len(), [$($number),*].len());
            for lab in labs {
                for part in ["**Look at**", "**Question.**", "<details><summary>Answer</summary>"] {
                    assert_eq!(lab.matches(part).count(), 1, "{part} in {lab}");
                }
            }
        }
    };
}

labs! {
    lab_1_finds_the_slow_route = 1;
    lab_2_declines_payments_without_errors = 2;
    lab_3_counts_clients_that_disconnect = 3;
    lab_4_compares_the_commit_modes = 4;
    lab_5_sells_out_a_hot_concert = 5;
    lab_6_blocks_the_runtime = 6;
    lab_7_counts_a_scanner_in_two_series = 7;
    lab_8_restarts_without_a_lost_request = 8;
    lab_9_burns_the_error_budget = 9;
}

#[test]
fn every_panel_that_a_lab_names_exists() {
    let dashboards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/grafana/dashboards");
    let dashboards: String = fs::read_dir(dashboards)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let paragraphs = LABS.lines().filter(|line| line.starts_with("**Look at**"));
    let mut names = 0;
    for paragraph in paragraphs {
        // Commands and queries have quotes too.
        let text: Vec<_> = paragraph.split('`').step_by(2).collect();
        for name in text.join("").split('"').skip(1).step_by(2) {
            let title = format!("\"title\": \"{name}\"");
            // A control and a check of the live page.
            let is_on_page = ["Commit", "Consistency"].contains(&name);
            assert!(is_on_page || dashboards.contains(&title), "{name:?}");
            names += 1;
        }
    }
    assert!(names > 20, "{names}");
}

#[test]
fn a_lab_that_does_not_end_is_killed_with_its_processes() {
    let mut shell = Command::new("bash");
    // The shell ends when it is terminated; its background process holds the output open.
    shell.args(["-c", "(sleep 60; echo not killed) & wait"]);
    let output = run(shell, Duration::from_secs(1), Duration::ZERO);
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn an_ellipsis_in_the_document_stands_for_any_text_of_a_line() {
    for (output, documented, matched) in [
        ("a\n", "a\n", true),
        ("a\n", "b\n", false),
        ("a 17 b\n", "a … b\n", true),
        ("a 17 c\n", "a … b\n", false),
        ("xa 17 b\n", "a … b\n", false),
        ("a\nb\n", "a\n", false),
        ("anything\n", "…\n", true),
    ] {
        assert_eq!(
            matches(output, documented),
            matched,
            "{output:?} {documented:?}"
        );
    }
}
