//! The server under test: a child process on a separate core.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;
use super::clients::Connection;
use crate::config;

/// A purchase is prompt again if it takes no longer than this after the storm.
const PROMPT: Duration = Duration::from_millis(100);
/// Time in which the server has to recover before the measurement fails.
const MAX_RECOVERY: Duration = Duration::from_secs(60);

/// Running server, which ends when this is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) api: SocketAddr,
    pub(super) ops: SocketAddr,
    folder: PathBuf,
}

impl Server {
    /// Starts `serve` on a temporary SQLite database, or on the given one.
    pub(super) fn start(options: &config::Overload) -> Result<Self, Error> {
        let name = format!("tickets-overload-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).map_err(Error::Start)?;
        let database = match &options.database_url {
            Some(url) => url.as_str().to_owned(),
            None => format!("sqlite://{}", folder.join("tickets.db").display()),
        };
        let mut child = Command::new(std::env::current_exe().map_err(Error::Start)?)
            .args(["serve", "--log-format", "json", "--log", "info"])
            .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .args(&options.serve)
            // Not an argument: other users see those.
            .env("DATABASE_URL", database)
            // Meant for other servers. Flags can still set them.
            .env_remove("ADMIN_TOKEN")
            .env_remove("FAULTS")
            .env_remove("SCENARIO")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::Start)?;
        let output = child.stdout.take().ok_or(Error::Ended)?;
        let mut server = Self {
            child,
            api: ([127, 0, 0, 1], 0).into(),
            ops: ([127, 0, 0, 1], 0).into(),
            folder,
        };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let serving = lines
            .by_ref()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["fields"]["message"] == "serving")
            .ok_or(Error::Ended)?;
        let address = |name: &str| {
            let url = serving["fields"][name].as_str()?;
            url.strip_prefix("http://")?.parse().ok()
        };
        server.api = address("api").ok_or(Error::Ended)?;
        server.ops = address("ops").ok_or(Error::Ended)?;
        // An unread pipe fills up.
        let reading = std::thread::Builder::new().name("log".into());
        reading
            .spawn(move || lines.for_each(drop))
            .map_err(Error::Thread)?;
        Ok(server)
    }

    /// Creates a concert and returns the bytes of a request that buys one ticket for it.
    pub(super) async fn new_purchase(&self) -> Result<Vec<u8>, Error> {
        #[derive(Deserialize)]
        struct Concert {
            id: String,
        }
        let concert = json!({
            "title": "Overload", "venue": "Tempodrom", "starts_at": "2199-01-01T20:00:00Z",
            "capacity": 10_000_000, "price": { "amount": 6_500, "currency": "EUR" },
        });
        let request = post("/concerts", &concert);
        let unexpected = |problem: String| Error::Unexpected {
            address: self.api,
            problem,
        };
        let created = async {
            let mut connection = Connection::open(self.api).await?;
            connection.send(&request).await?;
            Ok::<_, std::io::Error>(connection.body().to_vec())
        };
        let created = created
            .await
            .map_err(|error| unexpected(error.to_string()))?;
        let Ok(Concert { id }) = serde_json::from_slice(&created) else {
            return Err(unexpected(String::from_utf8_lossy(&created).into_owned()));
        };
        let order = json!({ "buyer": "Ada Lovelace", "quantity": 1 });
        Ok(post(&format!("/concerts/{id}/purchases"), &order))
    }

    /// Waits until a purchase succeeds within [`PROMPT`]. Returns how long that took.
    pub(super) async fn recovered(&self, request: &[u8]) -> Result<Duration, Error> {
        let start = Instant::now();
        while start.elapsed() < MAX_RECOVERY {
            let purchase = async {
                let mut connection = Connection::open(self.api).await?;
                connection.send(request).await
            };
            match tokio::time::timeout(PROMPT, purchase).await {
                Ok(Ok(response)) if response.status == 201 => return Ok(start.elapsed()),
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(_) => {}
            }
        }
        Err(Error::Unexpected {
            address: self.api,
            problem: format!("no purchase within {PROMPT:?} for {MAX_RECOVERY:?}"),
        })
    }

    /// Returns the processor time that the server has used, on Linux.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name of the process, in parentheses, may contain spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10))
    }

    /// Returns the largest resident set so far in bytes, on Linux.
    pub(super) fn memory(&self) -> Option<u64> {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns the processors that this process may use; none where that is unknown.
#[cfg(target_os = "linux")]
pub(super) fn cores() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

/// Restricts this thread, and processes and threads that it starts, to one processor.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: Option<&usize>) {
    use rustix::thread::{CpuSet, sched_setaffinity};

    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(*core);
        // Without the permission the measurement is less exact.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn cores() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: Option<&usize>) {}
