//! Chromium, controlled through the DevTools protocol.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::client::Client;
use crate::process::until;

/// Timeout of a command.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) struct Browser {
    child: Child,
    devtools: Client,
    /// Profile and temporary files.
    folder: TempDir,
}

impl Browser {
    /// Starts a headless browser. Returns `None` and logs a message if Chromium is not installed.
    ///
    /// # Panics
    /// Panics if Chromium is not installed and `CI` is set.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "chromium: {error}");
                eprintln!("SKIPPED: chromium is not installed ({error})");
                return None;
            }
        };
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let address = line.strip_prefix("DevTools listening on ws://")?;
            Some(address.split('/').next()?.to_owned())
        });
        // Chromium would block on a full pipe.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let address = address.expect("chromium did not start");
        Some(Self {
            child,
            devtools: Client::new(format!("http://{address}").parse().unwrap()),
            folder,
        })
    }

    /// Opens an empty page.
    pub(crate) async fn page(&self) -> Page {
        let made = self.devtools.send(Method::PUT, "/json/new", &[], None);
        let made: Value = made.await.unwrap().json().unwrap();
        let url = made["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut page = Page {
            socket,
            sent: 0,
            errors: Vec::new(),
            requests: Vec::new(),
        };
        for domain in ["Page", "Runtime", "Log", "Network", "DOM", "Accessibility"] {
            page.command(&format!("{domain}.enable"), json!({})).await;
        }
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Child processes write to the folder until they notice the exit.
        let begun = Instant::now();
        while fs::remove_dir_all(self.folder.path()).is_err() && begun.elapsed() < TIMEOUT {
            std::thread::yield_now();
        }
    }
}

/// Page of a [`Browser`].
pub(crate) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent: u64,
    /// Errors that scripts or the browser have logged.
    pub(crate) errors: Vec<String>,
    /// URLs of all requests.
    pub(crate) requests: Vec<String>,
}

/// Element, identified by its backend node ID.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Node(u64);

impl Page {
    /// Sends a command and returns its result. Records events that arrive before it.
    pub(crate) async fn command(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.try_command(method, &parameters).await;
        answer.unwrap_or_else(|error| panic!("{method} {parameters}: {error}"))
    }

    async fn try_command(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.sent += 1;
        let id = self.sent;
        let command = json!({ "id": id, "method": method, "params": parameters });
        let command = Message::text(command.to_string());
        self.socket.send(command).await.unwrap();
        loop {
            let message = tokio::time::timeout(TIMEOUT, self.socket.next()).await;
            let message = message.unwrap_or_else(|_| panic!("{method} timed out"));
            let Message::Text(text) = message.unwrap().unwrap() else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                return match message["error"].take() {
                    Value::Null => Ok(message["result"].take()),
                    error => Err(error),
                };
            }
            self.record(&message["method"], &message["params"]);
        }
    }

    fn record(&mut self, event: &Value, with: &Value) {
        match event.as_str().unwrap_or("") {
            "Network.requestWillBeSent" => {
                let url = with["request"]["url"].as_str().unwrap();
                self.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => self.errors.push(with.to_string()),
            "Runtime.consoleAPICalled" if with["type"] == "error" || with["type"] == "assert" => {
                self.errors.push(with["args"].to_string());
            }
            "Log.entryAdded" if with["entry"]["level"] == "error" => {
                let entry = &with["entry"];
                self.errors
                    .push(format!("{} {}", entry["text"], entry["url"]));
            }
            _ => {}
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.command("Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// Evaluates an expression in the page.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let answer = self.command("Runtime.evaluate", parameters).await;
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        until(expression, async || self.evaluate(expression).await == true).await;
    }

    /// Returns the elements of the accessibility tree with a role and, if given, a name.
    pub(crate) async fn all(&mut self, role: &str, name: Option<&str>) -> Vec<Node> {
        let document = self.command("DOM.getDocument", json!({ "depth": 0 })).await;
        let mut parameters = json!({ "nodeId": document["root"]["nodeId"], "role": role });
        if let Some(name) = name {
            parameters["accessibleName"] = json!(name);
        }
        let found = self
            .try_command("Accessibility.queryAXTree", &parameters)
            .await;
        // There are none while the document is being replaced.
        let nodes = found
            .map(|mut found| found["nodes"].take())
            .unwrap_or_default();
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        let visible = nodes.iter().filter(|node| node["ignored"] != true);
        visible
            .filter_map(|node| node["backendDOMNodeId"].as_u64().map(Node))
            .collect()
    }

    /// Waits for the element with a role and a name.
    pub(crate) async fn find(&mut self, role: &str, name: &str) -> Node {
        let mut found = Vec::new();
        until(&format!("there is a {role} {name:?}"), async || {
            found = self.all(role, Some(name)).await;
            !found.is_empty()
        })
        .await;
        found[0]
    }

    /// Calls a JavaScript function with an element and returns its result.
    pub(crate) async fn call(&mut self, Node(node): Node, function: &str) -> Value {
        let resolved = json!({ "backendNodeId": node });
        let object = self.command("DOM.resolveNode", resolved).await;
        let parameters = json!({
            "objectId": object["object"]["objectId"], "returnByValue": true,
            "functionDeclaration": format!("function() {{ return ({function})(this); }}"),
        });
        let answer = self.command("Runtime.callFunctionOn", parameters).await;
        assert!(answer["exceptionDetails"].is_null(), "{function}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Clicks on the center of an element, again if the element has moved away meanwhile.
    pub(crate) async fn click(&mut self, node: Node) {
        let Node(id) = node;
        let observe = "e => { e.wasClicked = false; \
                       e.addEventListener('click', () => { e.wasClicked = true; }, { capture: true }); }";
        self.call(node, observe).await;
        until("the element is clicked", async || {
            self.command("DOM.scrollIntoViewIfNeeded", json!({ "backendNodeId": id }))
                .await;
            let middle = self
                .call(node, "e => { const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }")
                .await;
            for kind in ["mousePressed", "mouseReleased"] {
                let parameters = json!({
                    "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1,
                });
                self.command("Input.dispatchMouseEvent", parameters).await;
            }
            // A second click would undo one that is handled late.
            for _ in 0..100 {
                if self.call(node, "e => e.wasClicked").await == true {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        })
        .await;
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, or a character.
    pub(crate) async fn press(&mut self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            " " => ("Space", 32, " "),
            _ => panic!("unknown key {key:?}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut parameters = json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number,
            });
            if kind == "keyDown" && !text.is_empty() {
                parameters["text"] = json!(text);
            }
            self.command("Input.dispatchKeyEvent", parameters).await;
        }
    }

    /// Types a text into the focused element.
    pub(crate) async fn insert_text(&mut self, text: &str) {
        self.command("Input.insertText", json!({ "text": text }))
            .await;
    }
}
