//! MinIO, which stands in for S3: a server of its own for each value, on a free port, with its data in a folder that is
//! removed with it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepstone_engine::backend::credentials::RemoteLimits;
use keepstone_engine::backend::{Credentials, ObjectKind, RepositoryAddress, open_backend};
use tempfile::TempDir;

use crate::tools::tool;

const USER: &str = "keepstone-test";
const PASSWORD: &str = "not-a-secret-at-all";
const START_TIME_MAX: Duration = Duration::from_mins(1);
const POLL_PAUSE: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const START_COUNT_MAX: usize = 5;

/// A running server with one bucket, stopped when dropped.
#[derive(Debug)]
pub struct Minio {
    server: Child,
    port: u16,
    folder: TempDir,
}

impl Minio {
    /// The bucket that is there from the start.
    pub const BUCKET: &'static str = "backups";

    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        for _ in 0..START_COUNT_MAX {
            if let Some(minio) = Self::try_start() {
                return minio;
            }
        }
        panic!("minio did not start in {START_COUNT_MAX} tries");
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for minio");
        // A folder of the data folder is a bucket: nothing has to be asked of the server to make one.
        std::fs::create_dir_all(folder.path().join("data").join(Self::BUCKET)).expect("a bucket");
        let port = free_port();
        let log = File::create(folder.path().join("log")).expect("a log for minio");
        let server = Command::new(tool("minio"))
            .args(["server", "--quiet", "--address"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--certs-dir")
            .arg(folder.path().join("certs"))
            .arg(folder.path().join("data"))
            .env_clear()
            .env("HOME", folder.path())
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", PASSWORD)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .spawn()
            .expect("minio starts");
        let mut minio = Self {
            server,
            port,
            folder,
        };
        minio.wait_until_it_answers().then_some(minio)
    }

    /// False if the server ended by itself.
    fn wait_until_it_answers(&mut self) -> bool {
        let deadline = Instant::now() + START_TIME_MAX;
        while Instant::now() < deadline {
            if self
                .server
                .try_wait()
                .expect("the state of minio")
                .is_some()
            {
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("minio does not answer; its log:\n{log}");
    }

    /// Whether it does what it is asked: it is alive some time before it is ready.
    fn answers(&self) -> bool {
        let limits = RemoteLimits {
            retry_count_max: 0,
            ..RemoteLimits::default()
        };
        let credentials = self.credentials().limited(limits);
        let backend = open_backend(&self.address("ready"), &credentials).expect("a backend");
        backend.list(ObjectKind::End).is_ok()
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder in which the server keeps its bucket, each object as a folder of its own.
    pub fn bucket_folder(&self) -> PathBuf {
        self.folder.path().join("data").join(Self::BUCKET)
    }

    /// The address of a repository below this prefix, in restic's form.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3:{}/{}/{prefix}", self.endpoint(), Self::BUCKET)
    }

    /// The same, parsed.
    pub fn address(&self, prefix: &str) -> RepositoryAddress {
        self.url(prefix).parse().expect("an address")
    }

    /// What a process needs in its environment to get in.
    pub fn environment(&self) -> [(&'static str, &'static str); 2] {
        [
            ("AWS_ACCESS_KEY_ID", USER),
            ("AWS_SECRET_ACCESS_KEY", PASSWORD),
        ]
    }

    /// The same for the engine.
    pub fn credentials(&self) -> Credentials {
        let environment = self.environment();
        let value = |name: &str| environment.iter().find(|(known, _)| *known == name);
        Credentials::from_lookup(&|name| value(name).map(|(_, value)| (*value).to_owned()))
    }

    /// Stops the process where it stands, as an outage would; `resume` goes on.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(process, signal).expect("a signal to minio");
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // Already gone is as good.
        let _killed = self.server.kill();
        let _ended = self.server.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its number").port()
}
