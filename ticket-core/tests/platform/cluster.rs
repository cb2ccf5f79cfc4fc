//! A PostgreSQL cluster that lives as long as the test run.

#![allow(
    dead_code,
    reason = "each test binary with this module uses a part of it"
)]

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

/// A cluster that listens on a socket in its own folder and, if it has TLS, on a local port.
pub(crate) struct Cluster {
    folder: PathBuf,
    bin: PathBuf,
    settings: String,
    port: u16,
    running: Option<(Child, ChildStdin)>,
}

impl Cluster {
    /// Starts a cluster. Prints a note and returns `None` if PostgreSQL is not installed.
    ///
    /// # Panics
    /// Panics if PostgreSQL is not installed and `CI` is set.
    pub(crate) fn start(settings: &str) -> Option<Self> {
        let mut cluster = Self::create(settings)?;
        cluster.up();
        Some(cluster)
    }

    /// Starts a cluster that accepts TLS on a local port, with a certificate for `localhost` from
    /// a new authority. Connections to the port need a password.
    pub(crate) fn start_with_tls() -> Option<Self> {
        let mut cluster = Self::create(
            "-c fsync=off -c ssl=on -c ssl_cert_file=server.crt \
             -c ssl_key_file=server.key -c listen_addresses=127.0.0.1",
        )?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        cluster.port = port.local_addr().unwrap().port();
        drop(port);
        let made = cluster
            .as_postgres(
                "set -e
                 openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                     -subj /CN=authority -keyout ca.key -out ca.crt
                 openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                     -subj /CN=localhost -keyout data/server.key -out server.csr
                 echo subjectAltName=DNS:localhost > extensions
                 openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
                     -days 2 -extfile extensions -out data/server.crt
                 chmod 600 data/server.key
                 chmod 755 . && chmod 644 ca.crt
                 echo 'local all all trust' > data/pg_hba.conf
                 echo 'hostssl all all all scram-sha-256' >> data/pg_hba.conf",
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "openssl failed");
        cluster.up();
        Some(cluster)
    }

    /// The local port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn create(settings: &str) -> Option<Self> {
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
        let cluster = Self {
            folder,
            bin,
            settings: settings.to_owned(),
            port: 5432,
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
        Some(cluster)
    }

    /// Creates an empty database and returns its URL.
    pub(crate) fn create_database(&self, name: &str) -> String {
        let made = self
            .as_postgres(&format!(
                "'{}/createdb' -h '{}' -p {} -U postgres {name}",
                self.bin.display(),
                self.folder.display(),
                self.port
            ))
            .status();
        assert!(made.unwrap().success(), "createdb failed");
        let folder = self.folder.display();
        let port = self.port;
        format!("postgres://postgres@localhost:{port}/{name}?host={folder}")
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) fn up(&mut self) {
        // The shell stops the server when its input is closed, which happens even if this process
        // is killed, and removes the folder.
        let script = format!(
            "'{bin}/postgres' -D data -k '{folder}' -p {port} -c listen_addresses= -c max_connections=300 \
                 {settings} >>log 2>&1 & server=$!
             read how; kill -${{how:-INT}} $server; wait $server
             [ \"$how\" ] || rm -rf '{folder}'",
            bin = self.bin.display(),
            folder = self.folder.display(),
            port = self.port,
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
                    "'{}/pg_isready' -q -h '{}' -p {}",
                    self.bin.display(),
                    self.folder.display(),
                    self.port
                ))
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no PostgreSQL: {log}"
            );
        }
    }

    /// Stops all processes of the server with SIGSTOP until the guard is dropped.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        self.signal("STOP");
        Frozen(self)
    }

    fn signal(&self, signal: &str) {
        let script = format!(
            "server=$(head -n 1 data/postmaster.pid); \
             kill -{signal} $server $(cat /proc/$server/task/$server/children)"
        );
        let sent = self.as_postgres(&script).status().unwrap();
        assert!(sent.success(), "SIG{signal} could not be sent");
    }

    /// Runs SQL as the superuser of `database`.
    pub(crate) fn sql(&self, database: &str, sql: &str) {
        let run = self
            .as_postgres(&format!(
                "'{}/psql' -q -o /dev/null -v ON_ERROR_STOP=1 -h '{}' -p {} -U postgres -d {database}",
                self.bin.display(),
                self.folder.display(),
                self.port
            ))
            .stdin(Stdio::piped())
            .spawn();
        let mut run = run.unwrap();
        let mut input = run.stdin.take().unwrap();
        input.write_all(sql.as_bytes()).unwrap();
        drop(input);
        assert!(run.wait().unwrap().success(), "{sql}");
    }

    /// Stops the server with a signal: `INT` ends its sessions, `QUIT` acts like a crash.
    pub(crate) fn down(&mut self, signal: &str) {
        if let Some((mut server, mut pipe)) = self.running.take() {
            writeln!(pipe, "{signal}").unwrap();
            server.wait().unwrap();
        }
    }

    /// The folder with the data, the socket and the log.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn as_postgres(&self, script: &str) -> Command {
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

/// A frozen server.
pub(crate) struct Frozen<'a>(&'a Cluster);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
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
    ["initdb", "postgres", "pg_isready", "createdb", "psql"]
        .iter()
        .all(|program| folder.join(program).is_file())
}
