//! A proxy in front of PostgreSQL that cuts connections around COMMIT, or stops forwarding.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    Never,
    /// Before the COMMIT reaches the server.
    BeforeCommit,
    /// After the server has committed, before its response is forwarded.
    AfterCommit,
}

pub(crate) struct Proxy {
    folder: TempDir,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    cut: AtomicU8,
    closed: watch::Sender<bool>,
    silenced: watch::Sender<()>,
}

impl Proxy {
    /// Starts a proxy in front of the [`Cluster`](crate::cluster::Cluster) at `url`.
    pub(crate) fn start(url: &str) -> (Self, String) {
        let (rest, server) = url.split_once("?host=").unwrap();
        let server = format!("{server}/.s.PGSQL.5432");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let url = format!("{rest}?host={}", folder.path().display());
        let state = Arc::new(State::default());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !*shared.closed.borrow() {
                    let server = UnixStream::connect(&server).await.unwrap();
                    tokio::spawn(pass(client, server, shared.clone()));
                }
            }
        });
        let proxy = Self {
            folder,
            state,
            task,
        };
        (proxy, url)
    }

    /// Cuts the next connection that commits. With `stay`, cuts all connections and accepts no new ones.
    pub(crate) fn cut(&self, cut: Cut, stay: bool) {
        self.state
            .cut
            .store(cut as u8 + if stay { 10 } else { 0 }, SeqCst);
    }

    /// Stops forwarding on the existing connections without closing them, like a machine that was
    /// switched off. New connections are forwarded.
    pub(crate) fn silence(&self) {
        self.state.silenced.send_replace(());
    }

    pub(crate) fn open(&self) {
        self.state.closed.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(self.folder.path().join(".s.PGSQL.5432"));
    }
}

/// Forwards in both directions until one side closes or the connection is cut.
async fn pass(client: UnixStream, server: UnixStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut request, mut response) = ([0; 65536], [0; 65536]);
    let mut closed = state.closed.subscribe();
    let mut silenced = state.silenced.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = silenced.changed() => return std::future::pending().await,
            () = async { drop(closed.wait_for(|closed| *closed).await) } => return,
            read = from_client.read(&mut request) => {
                let Ok(1..) = read else { return };
                let message = &request[..read.unwrap()];
                if message.windows(7).any(|part| part == b"COMMIT\0") {
                    let cut = state.cut.swap(Cut::Never as u8, SeqCst);
                    if cut % 10 != Cut::Never as u8 {
                        state.closed.send_replace(cut >= 10);
                        if cut % 10 == Cut::AfterCommit as u8 {
                            to_server.write_all(message).await.unwrap();
                            assert_ne!(from_server.read(&mut response).await.unwrap(), 0);
                        }
                        return;
                    }
                }
                if to_server.write_all(message).await.is_err() { return }
            }
            read = from_server.read(&mut response) => {
                let Ok(1..) = read else { return };
                if to_client.write_all(&response[..read.unwrap()]).await.is_err() { return }
            }
        }
    }
}
