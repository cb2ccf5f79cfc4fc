//! A PostgreSQL cluster of our own: made for a test run, gone with it.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

/// A cluster that listens on a socket in its own folder, and on no port.
pub(crate) struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    settings: &'static str,
    running: Option<(Child, ChildStdin)>,
}

impl Cluster {
    /// Starts a cluster; none, and a word on stderr, where PostgreSQL is not installed.
    ///
    /// # Panics
    /// Where `CI` is set and PostgreSQL is not installed.
    pub(crate) fn start(settings: &'static str) -> Option<Self> {
        let Some(bin) = binaries() else {
            let missing = "no initdb on PATH nor in /usr/lib/postgresql/*/bin";
            assert!(env::var_os("CI").is_none(), "{missing}");
            eprintln!("SKIPPED: the PostgreSQL half of this test: {missing}");
            return None;
        };
        let folder = tempfile::Builder::new()
            .prefix("tickets-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let mut cluster = Self {
            folder,
            bin,
            settings,
            running: None,
        };
        let made = cluster
            .as_postgres(&format!(
                "'{}/initdb' -D data -A trust -U postgres -E UTF8 --locale=C --no-sync",
                cluster.bin.display()
            ))
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        cluster.up();
        Some(cluster)
    }

    /// Makes an empty database and says its address.
    pub(crate) fn create_database(&self, name: &str) -> String {
        let made = self
            .as_postgres(&format!(
                "'{}/createdb' -h '{}' -U postgres {name}",
                self.bin.display(),
                self.folder.display()
            ))
            .status();
        assert!(made.unwrap().success(), "createdb failed");
        let folder = self.folder.display();
        format!("postgres://postgres@localhost/{name}?host={folder}")
    }

    /// Starts the server and waits until it takes connections.
    pub(crate) fn up(&mut self) {
        // The server ends with the pipe to the shell that started it, and so with this process,
        // however that ends. The last one out removes the folder.
        let script = format!(
            "'{bin}/postgres' -D data -k '{folder}' -c listen_addresses= -c max_connections=300 \
                 {settings} >>log 2>&1 & server=$!
             read how; kill -${{how:-INT}} $server; wait $server
             [ \"$how\" ] || rm -rf '{folder}'",
            bin = self.bin.display(),
            folder = self.folder.display(),
            settings = self.settings,
        );
        let mut server = self
            .as_postgres(&script)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = server.stdin.take().unwrap();
        self.running = Some((server, pipe));
        let begun = Instant::now();
        loop {
            let ready = self
                .as_postgres(&format!(
                    "'{}/pg_isready' -q -h '{}'",
                    self.bin.display(),
                    self.folder.display()
                ))
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "no PostgreSQL: {log}"
            );
        }
    }

    /// Stops the server with a signal: `INT` ends its sessions, `QUIT` is as good as a crash.
    pub(crate) fn down(&mut self, signal: &str) {
        if let Some((mut server, mut pipe)) = self.running.take() {
            writeln!(pipe, "{signal}").unwrap();
            server.wait().unwrap();
        }
    }

    fn as_postgres(&self, script: &str) -> Command {
        // PostgreSQL refuses to run as root.
        let root = fs::metadata(&self.folder).is_ok_and(|_| user() == "0");
        if !root {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(&self.folder);
            return command;
        }
        let owned = Command::new("chown")
            .arg("postgres")
            .arg(&self.folder)
            .status();
        assert!(owned.unwrap().success(), "there is no user postgres");
        let mut command = Command::new("runuser");
        command
            .args(["-u", "postgres", "--", "sh", "-c", script])
            .current_dir(&self.folder);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut server, pipe)) = self.running.take() {
            drop(pipe);
            let _ = server.wait();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn user() -> String {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

/// The folder with PostgreSQL's programs: on PATH, or the newest where Debian keeps them.
fn binaries() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders.into_iter().find(|folder| is_complete(folder))
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_isready", "createdb"]
        .iter()
        .all(|program| folder.join(program).is_file())
}
