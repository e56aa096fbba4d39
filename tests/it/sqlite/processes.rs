//! Other processes that use a database: this test binary again, in a role that its environment names.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use keepstone_engine::source::{Phase, RestorePlan, Target as _};
use keepstone_sources::sqlite::{SqliteTarget, SqliteTargetOptions};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use rustix::process::{Signal, getpid, kill_process};

use super::{MOMENT, capture};

/// A helper process; killed when it goes out of scope.
pub(super) struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts a role on a database and waits until it says that it is ready.
    pub(super) fn start(role: &str, path: &Path) -> Self {
        let mut helper = Self::start_with(role, path, &[]);
        helper.expect("ready");
        helper
    }

    /// Starts a role with further variables.
    pub(super) fn start_with(role: &str, path: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_by(
            Command::new(std::env::current_exe().unwrap()),
            role,
            path,
            variables,
        )
    }

    /// Starts a role as a user who may do little.
    pub(super) fn start_as_nobody(role: &str, path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if rustix::process::geteuid().is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        Self::start_by(command, role, path, &[])
    }

    fn start_by(mut command: Command, role: &str, path: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .args([
                "--exact",
                "sqlite::processes::helper_process",
                "--nocapture",
            ])
            .env("TEST_SQLITE_ROLE", role)
            .env("TEST_SQLITE_PATH", path)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Waits for a line; the noise of the test harness is skipped.
    pub(super) fn expect(&mut self, word: &str) {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(word) {
                return;
            }
            line.clear();
        }
        panic!("the helper ended before it said {word}");
    }

    /// Tells the helper to go on with whatever its role waits for.
    pub(super) fn go_on(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Lets the helper end by itself and asserts that it was content.
    pub(super) fn finish(mut self) -> String {
        drop(self.input.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the helper failed: {said}");
        said
    }

    /// Waits for the end of a helper that may have killed itself; answers whether it came to its own end.
    pub(super) fn came_through(mut self) -> bool {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        assert!(killed || status.success(), "the helper failed: {said}");
        !killed
    }

    /// kill -9.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Runs one restore step in a process that kills itself after its `stop`-th step; answers whether it got through.
pub(super) fn restore_in_process(
    act: &str,
    live: &Path,
    captured: &Path,
    plan: &RestorePlan,
    stop: usize,
) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let plan_file = folder.path().join("plan");
    fs::write(&plan_file, serde_json::to_vec(plan).unwrap()).unwrap();
    let variables = [
        ("TEST_SQLITE_ACT", act),
        ("TEST_SQLITE_PLAN", plan_file.to_str().unwrap()),
        ("TEST_SQLITE_CAPTURED", captured.to_str().unwrap()),
        ("TEST_SQLITE_STOP", &stop.to_string()),
    ];
    Helper::start_with("restorer", live, &variables).came_through()
}

/// Does nothing in a normal run: the tests start it as another process.
#[test]
fn helper_process() {
    let Ok(role) = std::env::var("TEST_SQLITE_ROLE") else {
        return;
    };
    let path = std::env::var("TEST_SQLITE_PATH").unwrap();
    let path = Path::new(&path);
    match role.as_str() {
        "bank" => run_bank(path),
        "reader" => run_reader(path),
        "holder" => run_holder(path),
        "committed" => run_committed(path),
        "torn" => run_torn(path),
        "exclusive" => run_exclusive(path),
        "writer" => run_writer(path),
        "grower" => run_grower(path),
        "restorer" => run_restorer(path),
        "capturer" => run_capturer(path),
        other => panic!("no role {other}"),
    }
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap()
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().unwrap();
}

/// Blocks until the test says `go_on`; false once it closed the pipe.
fn wait_for_word() -> bool {
    let mut byte = [0];
    std::io::stdin().read(&mut byte).unwrap() > 0
}

/// Whether the test wants this process to end.
fn is_over() -> bool {
    let input = std::io::stdin();
    let mut fds = [rustix::event::PollFd::new(
        &input,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&now)).unwrap() > 0
}

/// Moves money between two tables for ever, and keeps the database growing and shrinking.
fn run_bank(path: &Path) {
    let mut connection = Connection::open(path).unwrap();
    // SQLite's own waiting sleeps ever longer, and a writer that never rests can starve another one for minutes.
    connection
        .busy_handler(Some(|_| {
            std::thread::yield_now();
            true
        }))
        .unwrap();
    connection
        .pragma_update(None, "synchronous", "OFF")
        .unwrap();
    let mut step = i64::from(std::process::id());
    let mut is_ready = false;
    loop {
        step += 1;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        let amount = step % 97;
        transaction
            .execute(
                "UPDATE accounts SET amount = amount - ?1 WHERE id = ?2",
                [amount, step % 200],
            )
            .unwrap();
        transaction
            .execute(
                "UPDATE deposits SET amount = amount + ?1 WHERE id = ?2",
                [amount, step * 31 % 200],
            )
            .unwrap();
        match step % 10 {
            0..3 => transaction
                .execute(
                    "INSERT INTO filler(data) VALUES (randomblob(?1))",
                    [step * 37 % 20_000],
                )
                .unwrap(),
            3 => transaction
                .execute("DELETE FROM filler WHERE id % 7 = ?1", [step % 7])
                .unwrap(),
            _ => 0,
        };
        transaction.commit().unwrap();
        if !is_ready {
            say("ready");
            is_ready = true;
        }
    }
}

/// Opens, reads and closes again and again: all old, all new, or busy.
fn run_reader(path: &Path) {
    let (mut old, mut new, mut is_ready) = (0, 0, false);
    while !is_over() {
        match read_generation(path) {
            Ok((least, most, 300)) if least == most => match least.as_str() {
                "old" => {
                    assert_eq!(new, 0, "the old database came back");
                    old += 1;
                }
                "new" => new += 1,
                other => panic!("neither old nor new: {other}"),
            },
            Ok(mixed) => panic!("a mixture: {mixed:?}"),
            Err(error) => assert!(
                matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ),
                "{error}"
            ),
        }
        if !is_ready {
            say("ready");
            is_ready = true;
        }
    }
    say(&format!("read {old} old, {new} new"));
    assert!(old > 0 && new > 0);
}

fn read_generation(path: &Path) -> rusqlite::Result<(String, String, i64)> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(50))?;
    connection.query_row(
        "SELECT min(generation), max(generation), count(*) FROM rows",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// Keeps the database open without a lock, and says what it reads when asked.
fn run_holder(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let read = || {
        connection
            .query_row("SELECT min(generation) FROM rows", [], |row| {
                row.get::<_, String>(0)
            })
            .unwrap()
    };
    read();
    say("ready");
    while wait_for_word() {
        say(&read());
    }
}

/// Commits a change into the log, and stays.
fn run_committed(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "wal_autocheckpoint", 0)
        .unwrap();
    connection
        .execute("UPDATE rows SET generation = 'logged'", [])
        .unwrap();
    say("ready");
    wait_for_word();
}

/// Gets half-way through a transaction that has already written to the file, and stays.
fn run_torn(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "cache_size", 1).unwrap();
    connection
        .execute_batch("BEGIN; UPDATE rows SET generation = 'torn', filler = randomblob(2000);")
        .unwrap();
    say("ready");
    wait_for_word();
}

/// Keeps everybody else out.
fn run_exclusive(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;")
        .unwrap();
    say("ready");
    wait_for_word();
}

/// Begins to write, and commits once told to.
fn run_writer(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
        .execute_batch("BEGIN IMMEDIATE; UPDATE rows SET generation = 'written';")
        .unwrap();
    say("ready");
    while wait_for_word() {
        connection.execute_batch("COMMIT").unwrap();
        say("committed");
    }
}

/// Once told to, writes as much as it can and tries to clear the log.
fn run_grower(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
        .query_row("SELECT count(*) FROM rows", [], |_| Ok(()))
        .unwrap();
    say("ready");
    while wait_for_word() {
        connection
            .execute_batch(
                "UPDATE rows SET generation = 'later', filler = randomblob(3000);
                 DELETE FROM rows WHERE id % 2 = 0;",
            )
            .unwrap();
        connection.busy_timeout(MOMENT).unwrap();
        let _busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        });
        say("written");
    }
}

/// Captures, as whoever this process is, and says what came of it.
fn run_capturer(path: &Path) {
    match capture(path) {
        Ok(captured) => say(&format!("rows {}", captured.report.collections[0].records)),
        Err(error) => say(&format!("{:?}: {error}", error.kind())),
    }
}

/// Takes one act of a restore, and is killed after so many steps.
fn run_restorer(path: &Path) {
    let plan: RestorePlan =
        serde_json::from_slice(&fs::read(var("TEST_SQLITE_PLAN")).unwrap()).unwrap();
    let stop: usize = var("TEST_SQLITE_STOP").parse().unwrap();
    let taken = std::sync::atomic::AtomicUsize::new(0);
    let target = SqliteTarget::new(path, SqliteTargetOptions::default()).on_step(move |step| {
        println!("step {step}");
        if taken.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == stop {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    match var("TEST_SQLITE_ACT").as_str() {
        "stage" => {
            let captured = capture(Path::new(&var("TEST_SQLITE_CAPTURED"))).unwrap();
            target.stage(&plan, &captured).unwrap();
        }
        "switch" => target.switch(&plan).unwrap(),
        "rollback" => target.rollback(&plan, Phase::Switched).unwrap(),
        "discard" => target.discard(&plan).unwrap(),
        other => panic!("no act {other}"),
    }
}
