//! A proxy before PostgreSQL that cuts a connection at the worst moment, or falls silent.

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
    /// The server never hears of the COMMIT.
    BeforeCommit,
    /// The server commits, and its answer is lost.
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
    /// Stands before the server at `url`, which is that of a [`Cluster`](crate::cluster::Cluster).
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

    /// Cuts the next connection that commits, and where `stay` all of them, and takes no new ones.
    pub(crate) fn cut(&self, cut: Cut, stay: bool) {
        self.state
            .cut
            .store(cut as u8 + if stay { 10 } else { 0 }, SeqCst);
    }

    /// Leaves the connections that there are open and says nothing more on them, as a machine that
    /// was switched off; new ones are served.
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

/// Passes on what both say, until one has nothing more to say or the connection is cut.
async fn pass(client: UnixStream, server: UnixStream, state: Arc<State>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut asked, mut answered) = ([0; 65536], [0; 65536]);
    let mut closed = state.closed.subscribe();
    let mut silenced = state.silenced.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = silenced.changed() => return std::future::pending().await,
            () = async { drop(closed.wait_for(|closed| *closed).await) } => return,
            read = from_client.read(&mut asked) => {
                let Ok(1..) = read else { return };
                let message = &asked[..read.unwrap()];
                if message.windows(7).any(|part| part == b"COMMIT\0") {
                    let cut = state.cut.swap(Cut::Never as u8, SeqCst);
                    if cut % 10 != Cut::Never as u8 {
                        state.closed.send_replace(cut >= 10);
                        if cut % 10 == Cut::AfterCommit as u8 {
                            to_server.write_all(message).await.unwrap();
                            assert_ne!(from_server.read(&mut answered).await.unwrap(), 0);
                        }
                        return;
                    }
                }
                if to_server.write_all(message).await.is_err() { return }
            }
            read = from_server.read(&mut answered) => {
                let Ok(1..) = read else { return };
                if to_client.write_all(&answered[..read.unwrap()]).await.is_err() { return }
            }
        }
    }
}
