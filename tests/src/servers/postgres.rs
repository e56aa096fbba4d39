//! A real PostgreSQL server on a free port, in a folder of its own.
//!
//! The server is a direct child that dies with the test: on drop, on panic, and when the test process is killed.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepstone_sources::postgres::{PostgresEnvironment, PostgresSettings};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::waiting::wait_until;

/// How long a server may take to start.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Superuser of every test server.
pub const SUPERUSER: &str = "postgres";

/// How a test server differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct PostgresServerOptions {
    /// Password of the superuser; connections over TCP then prove it by SCRAM.
    pub password: Option<&'static str>,
    /// Whether connections over TCP can be encrypted, with a certificate that nobody trusts.
    pub tls: bool,
    /// Whether that certificate is of X.509 version 1.
    pub old_certificate: bool,
    /// Further lines of `postgresql.conf`.
    pub conf: Vec<String>,
}

/// A running server.
pub struct PostgresServer {
    dir: TempDir,
    port: u16,
    child: Child,
    password: Option<&'static str>,
}

impl PostgresServer {
    /// Starts a server that trusts everybody.
    pub fn start() -> Self {
        Self::start_with(&PostgresServerOptions::default())
    }

    /// Starts a server.
    pub fn start_with(options: &PostgresServerOptions) -> Self {
        let dir = folder_of_server();
        let home = dir.path().join("home");
        initdb(&home.join("data"), &home, options.password);
        Self::run_in(dir, options)
    }

    /// Starts a server that follows this one, and answers from what it has replayed.
    pub fn start_standby(&self) -> Self {
        let dir = folder_of_server();
        let home = dir.path().join("home");
        let data = home.join("data");
        let output = as_server_user(&bin("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", SUPERUSER, "--no-password"])
            .args(["-p", &self.port.to_string()])
            .args(["--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .arg("-D")
            .arg(&data)
            .current_dir(&home)
            .output()
            .expect("setpriv and pg_basebackup");
        assert!(
            output.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::write(data.join("standby.signal"), "").expect("a signal");
        give_to_server(&home);
        let primary = format!("host=127.0.0.1 port={} user={SUPERUSER}", self.port);
        let options = PostgresServerOptions {
            conf: vec![format!("primary_conninfo = '{primary}'")],
            ..PostgresServerOptions::default()
        };
        Self::run_in(dir, &options)
    }

    /// Waits until this standby has replayed all that its primary has written.
    pub fn until_it_follows(&self, primary: &Self) {
        let written = primary.value("postgres", "SELECT pg_current_wal_insert_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        wait_until("the standby has replayed all", || {
            self.value("postgres", &replayed) == "t"
        });
    }

    /// Runs a server on the data in its folder.
    fn run_in(dir: TempDir, options: &PostgresServerOptions) -> Self {
        let home = dir.path().join("home");
        let data = home.join("data");
        let port = free_port();
        configure(&data, &home, port, options);
        let child = spawn(&data, &home);
        let mut server = Self {
            dir,
            port,
            child,
            password: options.password,
        };
        // A port can be taken between our look and the server's start: then try another.
        for _ in 0..5 {
            if server.wait_until_ready() {
                return server;
            }
            let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(
                log.contains("could not bind"),
                "PostgreSQL does not start: {log}"
            );
            server.port = free_port();
            configure(&data, &home, server.port, options);
            server.child = spawn(&data, &home);
        }
        panic!("PostgreSQL finds no free port");
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of a database; of all of them if the name is empty.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same through another port, for example a proxy's.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        let database = keepstone_engine::path::percent_encode(database);
        format!("postgres://{SUPERUSER}@127.0.0.1:{port}/{database}")
    }

    /// Settings for a URL, with the server's password and nothing of the environment.
    pub fn settings_of(&self, url: &str) -> PostgresSettings {
        let environment = PostgresEnvironment {
            password: self
                .password
                .map(|password| Zeroizing::new(password.to_owned())),
            ..PostgresEnvironment::default()
        };
        PostgresSettings::parse_url_in(url, environment).expect("a URL")
    }

    /// Settings for a database; for all of them if the name is empty.
    pub fn settings(&self, database: &str) -> PostgresSettings {
        self.settings_of(&self.url(database))
    }

    /// Folder of the Unix socket.
    pub fn socket_folder(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A client of the tests, connected to a database.
    pub fn client(&self, database: &str) -> postgres::Client {
        self.try_client(database)
            .unwrap_or_else(|error| panic!("cannot connect to {database}: {error}"))
    }

    /// The same, or why not.
    pub fn try_client(&self, database: &str) -> Result<postgres::Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(SUPERUSER)
            .dbname(database);
        config.connect_timeout(Duration::from_secs(10));
        if let Some(password) = self.password {
            config.password(password);
        }
        config.connect(postgres::NoTls)
    }

    /// Runs statements in a database.
    pub fn execute(&self, database: &str, sql: &str) {
        self.client(database)
            .batch_execute(sql)
            .unwrap_or_else(|error| {
                panic!(
                    "cannot run on {database}: {error:?}: {}",
                    &sql[..sql.len().min(500)]
                )
            });
    }

    /// Waits until no session of ours is left: the server ends a session a moment after it was told to.
    ///
    /// # Panics
    /// If one stays for a minute.
    pub fn until_left_alone(&self) {
        let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keepstone'";
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.value("postgres", ours) != "0" {
            assert!(Instant::now() < deadline, "a session of ours stays");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The first value of the first row, as text.
    pub fn value(&self, database: &str, sql: &str) -> String {
        let messages = self.client(database).simple_query(sql).expect("a query");
        messages
            .iter()
            .find_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => {
                    Some(row.get(0).unwrap_or_default().to_owned())
                }
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Names of all databases, in order.
    pub fn databases(&self) -> Vec<String> {
        let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1";
        let rows = self.client(SUPERUSER).query(sql, &[]).expect("a query");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs one of PostgreSQL's own tools against the server and gives its output.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = self
            .tool_command(name)
            .args(arguments)
            .output()
            .expect("a tool that runs");
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Loads a script into a database with stock psql, which stops at the first error.
    pub fn load(&self, database: &str, script: &Path) {
        let script = script.to_str().expect("a path");
        let stop = ["-X", "-q", "-v", "ON_ERROR_STOP=1"];
        let arguments = [&stop[..], &["-d", database, "-f", script]].concat();
        if let Err(said) = self.tool("psql", &arguments) {
            panic!("psql on {script}: {said}");
        }
    }

    /// One of PostgreSQL's own tools, told where the server is.
    pub fn tool_command(&self, name: &str) -> Command {
        let mut command = Command::new(bin(name));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .env("PGPASSWORD", self.password.unwrap_or_default());
        command
    }

    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if self.try_client(SUPERUSER).is_ok() {
                return true;
            }
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("PostgreSQL does not answer on port {}", self.port);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Immediate shutdown: nothing of it is kept.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Path of one of PostgreSQL's own tools, of the newest version that is installed.
pub fn bin(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let path = version.path().join("bin").join(name);
            path.exists().then_some((number, path))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(
        || {
            panic!(
                "no {name} under /usr/lib/postgresql: apt-get install postgresql postgresql-client"
            )
        },
        |(_, path)| path,
    )
}

/// A folder with a home for a server in it.
fn folder_of_server() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("ks-pg-")
        .tempdir_in("/tmp")
        .expect("a folder");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let home = dir.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    give_to_server(&home);
    dir
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A command that runs as the user who may run a server: it refuses root.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program);
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn give_to_server(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let output = Command::new("chown")
        .args(["-R", "postgres:"])
        .arg(path)
        .output()
        .expect("chown");
    assert!(
        output.status.success(),
        "no user postgres: apt-get install postgresql"
    );
}

fn initdb(data: &Path, home: &Path, password: Option<&str>) {
    let mut command = as_server_user(&bin("initdb"));
    command
        .arg("-D")
        .arg(data)
        .args(["-U", SUPERUSER, "-E", "UTF8", "--no-sync"]);
    command.arg("--no-instructions").current_dir(home);
    match password {
        Some(password) => {
            let file = home.join("password");
            std::fs::write(&file, password).expect("a password file");
            give_to_server(&file);
            command.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
            command.arg("--pwfile").arg(file);
        }
        None => {
            command.args(["-A", "trust"]);
        }
    }
    let output = command.output().expect("setpriv and initdb");
    assert!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn configure(data: &Path, home: &Path, port: u16, options: &PostgresServerOptions) {
    let mut conf = vec![
        "listen_addresses = '127.0.0.1'".to_owned(),
        format!("port = {port}"),
        format!("unix_socket_directories = '{}'", home.display()),
        "fsync = off".into(),
        "full_page_writes = off".into(),
        "shared_buffers = 32MB".into(),
        "max_prepared_transactions = 2".into(),
        "log_min_messages = warning".into(),
    ];
    if options.tls {
        make_certificate(home, options.old_certificate);
        conf.push("ssl = on".into());
        conf.push(format!(
            "ssl_cert_file = '{}'",
            home.join("server.crt").display()
        ));
        conf.push(format!(
            "ssl_key_file = '{}'",
            home.join("server.key").display()
        ));
    }
    conf.extend(options.conf.iter().cloned());
    std::fs::write(data.join("postgresql.auto.conf"), conf.join("\n")).expect("a configuration");
}

fn make_certificate(home: &Path, old: bool) {
    let key = "-newkey rsa:2048 -nodes -keyout server.key -subj /CN=localhost";
    if old {
        openssl(home, &format!("req -new {key} -out server.csr"));
        // Without extensions it is of version 1.
        openssl(
            home,
            "x509 -req -in server.csr -signkey server.key -days 2 -out server.crt",
        );
        let text = openssl(home, "x509 -in server.crt -noout -text");
        assert!(text.contains("Version: 1 "), "{text}");
    } else {
        let extensions = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
            -addext basicConstraints=critical,CA:FALSE";
        openssl(
            home,
            &format!("req -x509 -days 2 {key} {extensions} -out server.crt"),
        );
    }
    give_to_server(home);
}

fn openssl(home: &Path, arguments: &str) -> String {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(home)
        .output()
        .expect("openssl: apt-get install openssl");
    assert!(
        output.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn spawn(data: &Path, home: &Path) -> Child {
    let log = std::fs::File::create(home.join("log")).expect("a log");
    as_server_user(&bin("postgres"))
        .arg("-D")
        .arg(data)
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("setpriv and postgres")
}
