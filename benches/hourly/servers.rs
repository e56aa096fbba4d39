//! The two servers of the stack, each in a folder of its own, stopped on drop.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepstone_benches::error::{Act as _, BenchError, Result};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).act("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Runs a command and refuses its failure with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .act(format!("run {name}"))?;
    if !output.status.success() {
        return Err(BenchError::new(format!(
            "{name} failed with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !ready() {
        if started.elapsed() > START_LIMIT {
            return Err(BenchError::new(format!(
                "{what} did not answer in a minute"
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// PostgreSQL on a socket in its folder and on a loopback port.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    /// Its loopback port.
    pub port: u16,
    owner: Option<(u32, u32)>,
}

impl Postgres {
    /// Makes a cluster in an empty folder and starts it with the database `app`.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).act(format!("make {}", folder.display()))?;
        let owner = postgres_owner()?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid))
                .act(format!("give {} to postgres", folder.display()))?;
        }
        let server = Self {
            folder: folder.to_path_buf(),
            port: free_port()?,
            owner,
        };
        let data = folder.join("data");
        run(server
            .tool("initdb")
            .args([
                "-A",
                "trust",
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(&data))?;
        // No automatic vacuum: when rows move is part of the workload, not of chance.
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c autovacuum=off \
             -c full_page_writes=off -c max_wal_size=4GB -c shared_buffers=128MB",
            server.port,
            folder.display()
        );
        run(server
            .tool("pg_ctl")
            .args(["start", "-w", "-s", "-D"])
            .arg(&data)
            .arg("-l")
            .arg(folder.join("server.log"))
            .args(["-o", &options]))?;
        server
            .connect("postgres")?
            .batch_execute("CREATE DATABASE app")?;
        Ok(server)
    }

    /// A connection to one database.
    pub fn connect(&self, database: &str) -> Result<postgres::Client> {
        let address = format!(
            "host=127.0.0.1 port={} user=postgres dbname={database}",
            self.port
        );
        postgres::Client::connect(&address, postgres::NoTls).act("connect to PostgreSQL")
    }

    /// One of the server's own programs, run as the owner of its data.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(server_program(name));
        command.current_dir(&self.folder).stdout(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.tool("pg_ctl");
        stop.args(["stop", "-m", "immediate", "-s", "-D"])
            .arg(self.folder.join("data"));
        if let Err(error) = run(&mut stop) {
            eprintln!("{error:?}");
        }
    }
}

/// PostgreSQL refuses to run as root; then Debian's user `postgres` owns the cluster.
fn postgres_owner() -> Result<Option<(u32, u32)>> {
    if run(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").act("read /etc/passwd")?;
    let user = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"postgres"))
        .ok_or_else(|| BenchError::new("no user postgres: install postgresql"))?;
    match user.as_slice() {
        [_, _, uid, gid, ..] => Ok(Some((uid.parse()?, gid.parse()?))),
        _ => Err(BenchError::new(
            "cannot read the user postgres in /etc/passwd",
        )),
    }
}

/// Debian keeps a server's programs off the path, one folder a version; the newest is taken.
fn server_program(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

/// Redis on a loopback port, its data in its folder.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    /// Its loopback port.
    pub port: u16,
    child: Child,
}

impl Redis {
    /// Starts a server in a folder; what was saved there is loaded.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).act(format!("make {}", folder.display()))?;
        let port = free_port()?;
        let child = Self::spawn(folder, port)?;
        let mut server = Self {
            folder: folder.to_path_buf(),
            port,
            child,
        };
        server.wait()?;
        Ok(server)
    }

    fn spawn(folder: &Path, port: u16) -> Result<Child> {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--save", "", "--daemonize", "no", "--logfile", "server.log"])
            .arg("--dir")
            .arg(folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .act("start redis-server (install redis-server)")
    }

    fn wait(&mut self) -> Result<()> {
        wait_for("Redis", || {
            self.connect().is_ok_and(|mut connection| {
                redis::cmd("PING").query::<String>(&mut connection).is_ok()
            })
        })
    }

    /// A connection.
    pub fn connect(&self) -> Result<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        client.get_connection().act("connect to Redis")
    }

    /// Saves, stops and starts again: the new process orders its keys anew.
    pub fn restart(&mut self) -> Result<()> {
        redis::cmd("SAVE").query::<String>(&mut self.connect()?)?;
        self.kill();
        self.child = Self::spawn(&self.folder, self.port)?;
        self.wait()
    }

    fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
