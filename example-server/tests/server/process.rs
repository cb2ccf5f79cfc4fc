//! Server processes on free ports and a temporary database.

#[path = "documented.rs"]
mod documented;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client, Response};

/// Time limit for conditions and log lines: long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Time limits of a server, longer than any test, so that a busy machine does not reach the defaults.
/// Tests of a limit pass its flag.
pub(crate) const PATIENT: [(&str, &str); 3] = [
    ("REQUEST_TIMEOUT", "5m"),
    ("QUEUE_TIMEOUT", "5m"),
    ("BODY_TIMEOUT", "5m"),
];

pub(crate) struct Server {
    child: Child,
    pub(crate) api: Client,
    pub(crate) ops: Client,
    pub(crate) api_url: String,
    pub(crate) ops_url: String,
    lines: mpsc::Receiver<Value>,
    _folder: Option<TempDir>,
}

/// Returns a command that runs the program with an empty environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-server"));
    command.env_clear();
    command
}

pub(crate) fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("tickets.db").display())
}

impl Server {
    /// Starts `serve` on a SQLite database that is deleted with the server.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::on(&sqlite(folder.path()), arguments);
        server._folder = Some(folder);
        server
    }

    /// Starts `serve` on `database`.
    pub(crate) fn on(database: &str, arguments: &[&str]) -> Self {
        Self::run("serve", database, arguments)
    }

    /// Starts `serve` on `database` under strace, which writes the system calls that read, write and
    /// sync to `trace`.
    pub(crate) fn traced(trace: &Path, database: &str, arguments: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        // `-D` makes the server the child process; strace exits with it.
        strace
            .args(["-D", "-f", "-y", "-s", "300", "-e"])
            .arg("trace=fsync,fdatasync,pwrite64,recvfrom,sendto,writev")
            .arg("-o")
            .arg(trace)
            .arg(env!("CARGO_BIN_EXE_example-server"));
        Self::spawn(strace, "serve", database, arguments)
    }

    /// Starts `serve` with a limit of open files.
    pub(crate) fn with_open_files(limit: u32, database: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell
            .env_clear()
            .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_example-server"));
        Self::spawn(shell, "serve", database, arguments)
    }

    /// Starts `serve` on a SQLite database in `folder`, on which a file system of `size` is mounted
    /// that only the server sees. [`path`](Self::path) returns the paths of its files.
    pub(crate) fn on_a_small_disk(folder: &Path, size: &str, arguments: &[&str]) -> Self {
        let mut unshare = Command::new("unshare");
        let mount = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && exec \"$@\"");
        unshare
            .args(["--map-root-user", "--mount", "sh", "-c", &mount])
            .arg(folder)
            .arg(env!("CARGO_BIN_EXE_example-server"));
        Self::spawn(unshare, "serve", &sqlite(folder), arguments)
    }

    /// Returns the path at which this process sees a file of the server's mount namespace.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.child.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap())
    }

    pub(crate) fn run(command: &str, database: &str, arguments: &[&str]) -> Self {
        Self::spawn(program(), command, database, arguments)
    }

    fn spawn(mut program: Command, command: &str, database: &str, arguments: &[&str]) -> Self {
        let mut child = program
            .args([command, "--database-url", database, "--log-format", "json"])
            .envs([("LISTEN", "127.0.0.1:0"), ("OPS_LISTEN", "127.0.0.1:0")])
            .envs(PATIENT)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(json!({ "text": line })));
            }
        });
        let ready = line(&lines, "serving");
        let url = |name: &str| ready["fields"][name].as_str().unwrap().to_owned();
        let (api_url, ops_url) = (url("api"), url("ops"));
        Self {
            child,
            api: Client::new(api_url.parse().unwrap()),
            ops: Client::new(ops_url.parse().unwrap()),
            api_url,
            ops_url,
            lines,
            _folder: None,
        }
    }

    /// Waits for a log line with this message and returns it.
    pub(crate) fn logs(&self, message: &str) -> Value {
        line(&self.lines, message)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the process to exit.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process has exited", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Response {
        send(&self.api, Method::POST, path, headers, Some(body)).await
    }

    /// Creates a concert and returns its ID.
    pub(crate) async fn concert(&self, capacity: u32) -> String {
        let answer = self.post("/concerts", &new_concert(capacity)).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        text(&value(&answer)["id"])
    }

    pub(crate) async fn put_faults(&self, document: &Value) {
        let answer = send(&self.ops, Method::PUT, "/faults", &[], Some(document)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }

    /// Returns the samples of `/metrics`: name with labels, and value.
    pub(crate) async fn metrics(&self) -> Vec<(String, f64)> {
        let answer = self.ops.get("/metrics").await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// Returns the sum of the series of a metric that have all of these `label="value"` pairs.
    pub(crate) async fn metric(&self, name: &str, pairs: &[&str]) -> f64 {
        let metrics = self.metrics().await;
        let wanted = metrics.iter().filter(|(series, _)| {
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            metric == name && pairs.iter().all(|pair| labels.contains(pair))
        });
        wanted.map(|(_, value)| value).sum()
    }

    pub(crate) async fn requests(&self, pairs: &[&str]) -> f64 {
        self.metric("http_server_request_duration_seconds_count", pairs)
            .await
    }

    pub(crate) async fn in_flight(&self) -> f64 {
        self.metric("http_server_active_requests", &[]).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let undocumented = match self.child.try_wait() {
            Ok(None) => documented::undocumented(&self.ops_url),
            _ => Vec::new(),
        };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert_eq!(undocumented, [""; 0], "not in the OpenAPI document");
        }
    }
}

fn line(lines: &mpsc::Receiver<Value>, message: &str) -> Value {
    let begun = Instant::now();
    loop {
        let left = TIMEOUT.saturating_sub(begun.elapsed());
        let line = lines.recv_timeout(left);
        let line = line.unwrap_or_else(|error| panic!("no log line {message:?}: {error}"));
        if line["fields"]["message"] == message {
            return line;
        }
    }
}

pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Option<&Value>,
) -> Response {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect();
    client
        .send(method, path, &headers, body.map(client::json))
        .await
        .unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < TIMEOUT, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn value(answer: &Response) -> Value {
    answer.json().unwrap()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn new_concert(capacity: u32) -> Value {
    json!({
        "title": "Nina Simone", "venue": "Tempodrom", "starts_at": "2199-01-01T20:00:00Z",
        "capacity": capacity, "price": { "amount": 6_500, "currency": "EUR" },
    })
}

pub(crate) fn order(buyer: &str, quantity: u32) -> Value {
    json!({ "buyer": buyer, "quantity": quantity })
}
