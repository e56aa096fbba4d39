//! Redis on a free port in a folder of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepstone_sources::redis::RedisSettings;
use tempfile::TempDir;

/// How long a server may take to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    /// A server with nothing in it.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with more arguments, such as `--maxmemory 10mb`.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for redis");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        // Somebody else may take the port between its choice and its use.
        for _ in 0..10 {
            let port = free_port();
            let mut child = spawn(port, &folder, &arguments);
            if wait_until_it_answers(port, &mut child) {
                return Self {
                    child,
                    folder,
                    port,
                    arguments,
                };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        panic!("redis-server did not start with {arguments:?}: {log}");
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Settings that reach it, with short time-outs.
    pub fn settings(&self) -> RedisSettings {
        let mut settings = RedisSettings::new("127.0.0.1", self.port);
        settings.answer_timeout = Duration::from_secs(20);
        settings
    }

    /// A new connection to database 0.
    pub fn connection(&self) -> redis::Connection {
        self.connection_to(0)
    }

    /// A new connection to a database.
    pub fn connection_to(&self, db: u32) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}/{db}", self.port))
            .expect("a redis address")
            .get_connection()
            .expect("a connection to redis")
    }

    /// A new connection to a server that wants a password.
    pub fn connection_as(&self, password: &str) -> redis::Connection {
        redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", self.port))
            .expect("a redis address")
            .get_connection()
            .expect("a connection to redis")
    }

    /// Saves, stops and starts again: the hash seed is another one then.
    pub fn restart(&mut self) {
        let mut connection = self.connection();
        let deadline = Instant::now() + START_MAX;
        // The child that fed a replica may not be gone yet.
        while let Err(error) = redis::cmd("SAVE").exec(&mut connection) {
            assert!(Instant::now() < deadline, "redis does not save: {error}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        self.start_again();
    }

    /// Starts it again with what it saved last.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.folder, &self.arguments);
        assert!(
            wait_until_it_answers(self.port, &mut self.child),
            "redis-server did not start again"
        );
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

fn spawn(port: u16, folder: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--logfile", "log"])
        .args(["--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts: install the package redis-server")
}

fn wait_until_it_answers(port: u16, child: &mut Child) -> bool {
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        if child
            .try_wait()
            .expect("the state of redis-server")
            .is_some()
        {
            return false;
        }
        if answers(port) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Whether it answers at all: also a server that wants a password does, and one that still loads does not.
fn answers(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 8];
    let asked = stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .and_then(|()| stream.write_all(b"PING\r\n"))
        .and_then(|()| stream.read(&mut answer));
    asked.is_ok_and(|length| length > 0 && !answer.starts_with(b"-LOADING"))
}
