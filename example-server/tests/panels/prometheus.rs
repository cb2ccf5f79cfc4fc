//! Runs Prometheus as a child process that scrapes one server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::process::until;

pub(crate) const JOB: &str = "example-server";

/// Seconds between scrapes, which is also their timeout: long enough for a busy machine.
pub(crate) const SCRAPE_INTERVAL: u32 = 3;

pub(crate) struct Prometheus {
    child: Child,
    client: Client,
    _folder: TempDir,
}

/// A series of a query result: its labels, and its values with their times in seconds.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Value,
    pub(crate) values: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or("")
    }

    pub(crate) fn last(&self) -> f64 {
        self.values.last().map_or(f64::NAN, |(_, value)| *value)
    }
}

impl Prometheus {
    /// Starts `program`, which scrapes `target` at `path` with these `settings` of the scrape job,
    /// and evaluates `rules`. Returns when it responds to queries.
    pub(crate) async fn start(
        program: &Path,
        target: &str,
        path: &str,
        settings: &str,
        rules: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("rules.yaml", rules);
        write(
            "prometheus.yml",
            &format!(
                "global: {{ scrape_interval: {SCRAPE_INTERVAL}s, scrape_timeout: {SCRAPE_INTERVAL}s }}\n\
                 rule_files: [rules.yaml]\n\
                 scrape_configs:\n  - job_name: {JOB}\n    metrics_path: {path}\n{settings}    \
                 static_configs: [{{ targets: [\"{target}\"] }}]\n"
            ),
        );
        let mut child = command(program, folder.path())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            // Prometheus 3 writes `component=web` in between.
            let (_, rest) = line.split_once("msg=\"Listening on\"")?;
            let (_, address) = rest.split_once("address=")?;
            Some(address.trim().to_owned())
        });
        // Drain the log: Prometheus blocks when the pipe is full.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let address = address.expect("prometheus did not start");
        let started = Self {
            child,
            client: Client::new(format!("http://{address}").parse().unwrap()),
            _folder: folder,
        };
        // It listens before it has replayed its write-ahead log.
        until("Prometheus is ready", async || {
            let answer = started.client.get("/-/ready").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        started
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let answer = self.client.get(&path).await.map_err(|e| e.to_string())?;
        let value: Value = answer.json().map_err(|_| format!("{answer:?}"))?;
        if value["status"] == "success" {
            Ok(value["data"].clone())
        } else {
            Err(value["error"].to_string())
        }
    }

    /// Evaluates `query` at `time`.
    pub(crate) async fn query(&self, query: &str, time: f64) -> Result<Vec<Series>, String> {
        let parameters = [("query", query), ("time", &time.to_string())];
        series(&self.ask("query", &parameters).await?)
    }

    /// Evaluates `query` at every second of a time range.
    pub(crate) async fn range(
        &self,
        query: &str,
        (from, to): (f64, f64),
    ) -> Result<Vec<Series>, String> {
        let (start, end) = (from.to_string(), to.to_string());
        let parameters = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", "1"),
        ];
        series(&self.ask("query_range", &parameters).await?)
    }

    /// Returns the values of `label` in the series that `selector` matches.
    pub(crate) async fn label_values(
        &self,
        selector: &str,
        label: &str,
    ) -> Result<Vec<String>, String> {
        let path = format!("label/{label}/values");
        let values = self.ask(&path, &[("match[]", selector)]).await?;
        Ok(serde_json::from_value(values).unwrap())
    }

    /// Returns the exemplars of the series in `query`.
    pub(crate) async fn exemplars(&self, query: &str, (from, to): (f64, f64)) -> Vec<Value> {
        let (start, end) = (from.to_string(), to.to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end)];
        let series = self.ask("query_exemplars", &parameters).await.unwrap();
        let exemplars = series.as_array().unwrap().iter();
        exemplars
            .flat_map(|series| series["exemplars"].as_array().unwrap().clone())
            .collect()
    }

    /// Returns the state of every rule.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let groups = self.ask("rules", &[]).await.unwrap();
        let groups = groups["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    /// Returns the times of the successful scrapes, oldest first.
    pub(crate) async fn scrapes(&self) -> Vec<f64> {
        let up = format!("up{{job=\"{JOB}\"}}[10m]");
        let parameters = [("query", &*up)];
        let found = self.ask("query", &parameters).await.unwrap();
        let series = series(&found).unwrap();
        let scrapes = series.iter().flat_map(|series| &series.values);
        scrapes
            .filter(|(_, up)| *up == 1.0)
            .map(|(time, _)| *time)
            .collect()
    }
}

impl Prometheus {
    /// Waits until the target was scraped after `after`. Returns the time of the scrape.
    pub(crate) async fn scraped(&self, after: f64) -> f64 {
        let mut first = None;
        until("Prometheus has scraped the server", async || {
            let scrapes = self.scrapes().await;
            first = scrapes.into_iter().find(|time| *time > after);
            first.is_some()
        })
        .await;
        first.unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns Prometheus 3, if `PROMETHEUS3_DIR` is set.
pub(crate) fn version_3() -> Option<PathBuf> {
    let folder = std::env::var_os("PROMETHEUS3_DIR")?;
    Some(Path::new(&folder).join("prometheus"))
}

/// Returns every installed Prometheus: the one in `PATH`, and the one in `PROMETHEUS3_DIR` if that
/// is set.
///
/// # Panics
/// Panics if `CI` is set and none is in `PATH`.
pub(crate) fn installed() -> Vec<PathBuf> {
    let mut found = Vec::new();
    match Command::new("prometheus").arg("--version").output() {
        Ok(_) => found.push(PathBuf::from("prometheus")),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "prometheus: {error}");
            eprintln!("skipped: prometheus is not installed ({error})");
        }
    }
    found.extend(version_3());
    found
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            "--enable-feature=exemplar-storage",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn series(data: &Value) -> Result<Vec<Series>, String> {
    // The value of a native histogram is its count.
    let point = |point: &Value| {
        let text = point[1].as_str().or(point[1]["count"].as_str()).unwrap();
        (point[0].as_f64().unwrap(), text.parse().unwrap())
    };
    let results = match data["resultType"].as_str() {
        Some("vector" | "matrix") => data["result"].as_array().unwrap(),
        other => return Err(format!("a {other:?} is no list of series")),
    };
    let results = results.iter().map(|result| Series {
        labels: result["metric"].clone(),
        values: ["values", "histograms"]
            .into_iter()
            .filter_map(|many| result[many].as_array())
            .flatten()
            .chain(
                ["value", "histogram"]
                    .iter()
                    .filter_map(|one| result.get(one)),
            )
            .map(point)
            .collect(),
    });
    Ok(results.collect())
}

/// Percent-encodes text for the query of a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => (byte as char).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
