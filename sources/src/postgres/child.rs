//! A program that works for us: started without our environment, read to its end, and ended when nobody wants it any more.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use keepstone_engine::source::{SourceError, SourceErrorKind};
use rustix::process::{Pid, Signal, kill_process_group};

use super::wire::Stop;

/// How often a wait for the child looks whether it should go on.
const TICK: Duration = Duration::from_millis(200);
/// Variables that a child needs to run at all.
const KEPT_VARIABLES: [&str; 5] = ["PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT"];
/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Reads that may wait.
const READS_AHEAD: usize = 16;
/// The most that is shown of what a child complained about.
const COMPLAINT_CHARS: usize = 600;

/// What a child may take.
pub(super) struct Bounds {
    /// How long it may say nothing.
    pub(super) silence: Duration,
    /// How much it may say.
    pub(super) bytes: u64,
}

/// A child that starts without our environment: no password, token or credential of ours is in it.
#[expect(
    clippy::disallowed_methods,
    reason = "what a child must inherit is known here, where everything else is taken from it"
)]
pub(crate) fn clean_command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear();
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C");
    command
}

/// Runs a child to its end and gives its output. A child that says nothing for too long, or too much, is ended.
pub(super) fn run(
    mut command: Command,
    bounds: &Bounds,
    stop: &Stop,
    act: &str,
) -> Result<Vec<u8>, SourceError> {
    let failed = |kind| SourceError::new(kind, act);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // An interrupt at the terminal is for us; a child that hears it too would end as if by a fault of its own.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(SourceErrorKind::Interrupted).because(error))?;
    let pieces = read_aside(child.stdout.take());
    let complaint = complaint_aside(child.stderr.take());
    let output = collect(&pieces, bounds, stop);
    // Whoever still writes need not wait for us.
    drop(pieces);
    if output.is_err() {
        kill(&mut child);
    }
    let status = child
        .wait()
        .map_err(|error| failed(SourceErrorKind::Interrupted).because(error))?;
    let complaint = complaint.join().unwrap_or_default();
    let output = output.map_err(|(kind, problem)| failed(kind).because(problem))?;
    if status.success() {
        return Ok(output);
    }
    if stop.is_set() {
        return Err(failed(SourceErrorKind::Cancelled).because("stopped"));
    }
    let complaint = one_line(&complaint);
    Err(failed(kind_of_complaint(&complaint)).because(format!("{complaint} ({status})")))
}

/// Ends a child and whatever it started. Until it is waited for, it keeps the number of its group from being used again.
fn kill(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    drop(child.kill());
}

fn read_aside(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = bounded(READS_AHEAD);
    thread::spawn(move || {
        let mut pipe = pipe;
        let mut piece = vec![0; READ_BYTES];
        while let Some(count) = pipe.as_mut().and_then(|pipe| pipe.read(&mut piece).ok()) {
            let bytes = piece.get(..count).unwrap_or_default().to_vec();
            if count == 0 || send.send(bytes).is_err() {
                break;
            }
        }
    });
    receive
}

fn complaint_aside(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut complaint = Vec::new();
        if let Some(pipe) = pipe {
            // Half a complaint is better than none.
            drop(pipe.take(1 << 20).read_to_end(&mut complaint));
        }
        complaint
    })
}

/// Everything up to the end, or why it is no longer waited for.
fn collect(
    pieces: &Receiver<Vec<u8>>,
    bounds: &Bounds,
    stop: &Stop,
) -> Result<Vec<u8>, (SourceErrorKind, String)> {
    let mut output = Vec::new();
    let mut since = Instant::now();
    loop {
        match pieces.recv_timeout(TICK) {
            Ok(bytes) => {
                output.extend_from_slice(&bytes);
                since = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(output),
            Err(RecvTimeoutError::Timeout) if since.elapsed() >= bounds.silence => {
                let problem = format!("no answer for {} s", bounds.silence.as_secs());
                return Err((SourceErrorKind::Unreachable, problem));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop.is_set() {
            return Err((SourceErrorKind::Cancelled, "stopped".into()));
        }
        if output.len() as u64 > bounds.bytes {
            let problem = format!("it is longer than {} MiB", bounds.bytes >> 20);
            return Err((SourceErrorKind::Other, problem));
        }
    }
}

fn kind_of_complaint(complaint: &str) -> SourceErrorKind {
    let denied = [
        "permission denied",
        "authentication failed",
        "no password supplied",
    ];
    if denied.iter().any(|words| complaint.contains(words)) {
        SourceErrorKind::Denied
    } else if complaint.contains("lock timeout") {
        SourceErrorKind::Unreachable
    } else if complaint.contains("invalid byte sequence for encoding") {
        // A database in SQL_ASCII: it will not be another one next time.
        SourceErrorKind::Other
    } else {
        SourceErrorKind::Interrupted
    }
}

fn one_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    line.join("; ").chars().take(COMPLAINT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = clean_command(Path::new("sh"));
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_says_too_much_or_nothing_is_ended_with_what_it_started() {
        let mut bounds = Bounds {
            silence: Duration::from_mins(10),
            bytes: 1 << 20,
        };
        let run = |script, bounds: &Bounds, stop: &Stop| run(shell(script), bounds, stop, "act");
        let error = run("yes; true", &bounds, &Stop::default()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Other);
        assert!(format!("{error:?}").contains("longer than 1 MiB"));
        assert_eq!(run("echo a", &bounds, &Stop::default()).unwrap(), b"a\n");
        let stop = Stop::default();
        stop.set();
        let error = run("sleep 1000; true", &bounds, &stop).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Cancelled);
        bounds.silence = Duration::ZERO;
        let error = run("sleep 1000; true", &bounds, &Stop::default()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Unreachable);
    }
}
