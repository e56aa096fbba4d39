//! One child process: its pipes, its process group, its end. The only file that starts a program.
//!
//! Invariant: a `Running` that goes away takes its whole process group along, unless the child had ended by itself.
//! Everything happens on the caller's thread: one `poll` waits for the pipes and for the end of the child, and
//! comes up for air every tenth of a second to look at the clock and at ^C.
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    test_kill_process_group, waitid,
};

use super::environment::remove_secrets;
use super::remains::Remains;
use super::talk::Talk;
use super::{CommandSettings, LineHook};

/// Size that the data pipe is given: fewer switches between the two processes.
const PIPE_BYTES: usize = 1 << 20;
/// How long one wait lasts at most.
const TICK: Duration = Duration::from_millis(100);
/// How long the first of several looks at one thing waits.
const SHORT_TICK: Duration = Duration::from_millis(1);
/// How long an output may stay silent and open after its program has ended.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// How long a process group has to end after a signal.
const KILL_GRACE: Duration = Duration::from_secs(2);

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Standard output is the data.
    FromCommand,
    /// Standard input is the data.
    ToCommand,
}

/// A started command.
#[derive(Debug)]
pub(super) struct Running {
    program: String,
    direction: Direction,
    child: Child,
    /// Tells at once that the child ended; without it that is noticed within a tick.
    pidfd: Option<OwnedFd>,
    /// The data pipe; gone once it is finished.
    data: Option<std::fs::File>,
    talk: Vec<Talk>,
    deadline: Option<(Instant, Duration)>,
    exited_at: Option<Instant>,
    status: Option<ExitStatus>,
    remains: Remains,
}

impl Running {
    /// Starts the command with clean environment, in a process group of its own.
    pub(super) fn start(
        settings: &CommandSettings,
        direction: Direction,
    ) -> Result<Self, SourceError> {
        let program = settings.command.program().to_owned();
        let argv = settings.command.argv();
        let mut command = Command::new(&program);
        command.args(argv.iter().skip(1)).process_group(0);
        remove_secrets(&mut command);
        command.envs(
            settings
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match direction {
            Direction::FromCommand => Stdio::null(),
            Direction::ToCommand => Stdio::piped(),
        });
        let started = Instant::now();
        let child = command
            .spawn()
            .map_err(|error| cannot_start(&program, error))?;
        let mut running = Self {
            program,
            direction,
            pidfd: pid_of(&child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            child,
            data: None,
            talk: Vec::new(),
            deadline: settings.timeout.map(|timeout| (started + timeout, timeout)),
            exited_at: None,
            status: None,
            remains: Remains::default(),
        };
        running.take_pipes(direction, settings.on_line.as_ref())?;
        Ok(running)
    }

    fn take_pipes(
        &mut self,
        direction: Direction,
        on_line: Option<&LineHook>,
    ) -> Result<(), SourceError> {
        let stdout = self.child.stdout.take().map(OwnedFd::from);
        let stderr = self.child.stderr.take().map(OwnedFd::from);
        let stdin = self.child.stdin.take().map(OwnedFd::from);
        let (data, talk) = match direction {
            Direction::FromCommand => (stdout, vec![stderr]),
            Direction::ToCommand => (stdin, vec![stderr, stdout]),
        };
        if let Some(data) = &data {
            // A user over the limit for pipes is refused; the pipe then stays as it was.
            let _size = fcntl_setpipe_size(data, PIPE_BYTES);
        }
        for pipe in data.iter().chain(talk.iter().flatten()) {
            fcntl_getfl(pipe)
                .and_then(|flags| fcntl_setfl(pipe, flags | OFlags::NONBLOCK))
                .map_err(|error| self.failed("cannot set up a pipe to").because(error))?;
        }
        self.data = data.map(std::fs::File::from);
        self.talk = talk
            .into_iter()
            .flatten()
            .map(|pipe| Talk::new(pipe, on_line.cloned()))
            .collect();
        Ok(())
    }

    /// Reads output of the command; 0 at its end.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<usize, SourceError> {
        let mut silent_since = Instant::now();
        loop {
            let Some(data) = &mut self.data else {
                return Ok(0);
            };
            match data.read(buffer) {
                Ok(0) => self.data = None,
                Ok(count) => return Ok(count),
                Err(error) if is_transient(&error) => {}
                Err(error) => {
                    return Err(self.failed("cannot read the output of").because(error));
                }
            }
            if let Some(exited_at) = self.exited_at {
                silent_since = silent_since.max(exited_at);
                if self.data.is_some() && silent_since.elapsed() > ORPHAN_GRACE {
                    return Err(self.orphaned());
                }
            }
            if self.data.is_some() {
                self.wait(PollFlags::IN, cancelled)?;
            }
        }
    }

    /// Writes input of the command.
    pub(super) fn write_all(
        &mut self,
        mut bytes: &[u8],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SourceError> {
        while !bytes.is_empty() {
            let Some(data) = &mut self.data else {
                return Err(self.deaf(cancelled));
            };
            match data.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if is_transient(&error) => self.wait(PollFlags::OUT, cancelled)?,
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.data = None;
                }
                Err(error) => return Err(self.failed("cannot write to").because(error)),
            }
        }
        Ok(())
    }

    /// Waits until the command has read what it was fed, and for its end; honours its status.
    pub(super) fn finish(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), SourceError> {
        if self.direction == Direction::ToCommand {
            self.wait_until_read(cancelled)?;
        }
        self.end(cancelled)
    }

    /// Waits until nothing is left in the pipe: what is closed too early looks the same to us as what was read.
    fn wait_until_read(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), SourceError> {
        let (mut unread, mut since) = (0, Instant::now());
        let mut pause = SHORT_TICK;
        loop {
            let events = self.poll_once(Some(PollFlags::empty()), pause);
            self.look_around(cancelled)?;
            // Doubled, so that a quick command is not waited for and a slow one not looked at all the time.
            pause = TICK.min(pause * 2);
            let Some(data) = &self.data else {
                return Ok(());
            };
            // Asked after the poll: what the last reader left is what was there when it went.
            let left = ioctl_fionread(data)
                .map_err(|error| self.failed("cannot see what is read by").because(error))?;
            if left == 0 {
                return Ok(());
            }
            if left != unread || self.exited_at.is_none() {
                (unread, since) = (left, Instant::now());
            }
            // Whoever holds the pipe without reading, after the command has ended, will not read it either.
            if events.contains(PollFlags::ERR) || since.elapsed() > ORPHAN_GRACE {
                return Err(self.deaf(cancelled));
            }
        }
    }

    /// Closes the data pipe, waits for the end of the command and honours its status.
    fn end(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), SourceError> {
        self.data = None;
        while self.exited_at.is_none() {
            self.wait(PollFlags::empty(), cancelled)?;
        }
        self.listen();
        self.talk.iter_mut().for_each(Talk::end_line);
        let status = self
            .child
            .wait()
            .map_err(|error| self.failed("cannot learn the status of").because(error))?;
        self.status = Some(status);
        if status.success() {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended in an unknown way".into(),
        };
        Err(self.with_tail(SourceError::new(
            SourceErrorKind::Program,
            format!("{} {how}", self.program),
        )))
    }

    /// The last lines that the command wrote beside its data.
    pub(super) fn said(&self) -> impl Iterator<Item = &str> {
        self.talk.iter().flat_map(Talk::lines)
    }

    /// Ends the whole process group, unless the command has ended and was waited for. One that we may not end is left.
    ///
    /// Whoever is being fed sees no end of the input before it is gone: it would take the part for the whole. For one that
    /// we may not end, it stays open as long as this process lives.
    pub(super) fn kill(&mut self) {
        if self.direction == Direction::FromCommand {
            self.data = None;
        }
        self.kill_group();
        if self.is_still_read() {
            self.remains.starves = true;
            let _held = self.data.take().map(std::fs::File::into_raw_fd);
        }
        self.data = None;
    }

    fn kill_group(&mut self) {
        if self.status.is_some() || self.remains.process.is_some() {
            return;
        }
        // Until it is waited for, the child keeps the number of the group from being used again.
        if let Some(group) = pid_of(&self.child) {
            let first = match self.direction {
                Direction::FromCommand => Signal::TERM,
                // The end of one filter is to the next that of its input: none may run when the first of them goes.
                Direction::ToCommand => Signal::STOP,
            };
            let _gone = kill_process_group(group, first);
            if self.direction == Direction::FromCommand {
                self.wait_briefly();
            }
            let _gone = kill_process_group(group, Signal::KILL);
            self.wait_briefly();
        }
        if self.exited_at.is_none() {
            self.remains.process = Some(self.child.id());
            return;
        }
        self.status = self.child.wait().ok();
        if self.direction == Direction::ToCommand {
            self.remains.outlives =
                pid_of(&self.child).is_some_and(|group| self.is_outlived(group));
        }
    }

    /// Whether somebody of the group, whose first process is gone, runs as another user, whom no signal of ours reaches. Those
    /// who are dying get a moment to be gone.
    fn is_outlived(&mut self, group: Pid) -> bool {
        let until = Instant::now() + KILL_GRACE;
        loop {
            match test_kill_process_group(group) {
                Err(errno) => return errno == Errno::PERM,
                Ok(()) if Instant::now() >= until => return false,
                Ok(()) => self.poll_once(None, SHORT_TICK),
            };
            self.listen();
        }
    }

    /// Whether somebody is left who reads what we feed. Those who are dying get a moment to be gone.
    fn is_still_read(&mut self) -> bool {
        let until = Instant::now() + KILL_GRACE;
        while self.data.is_some() {
            let events = self.poll_once(Some(PollFlags::empty()), SHORT_TICK);
            if events.contains(PollFlags::ERR) {
                return false;
            }
            if self.remains.process.is_some() || Instant::now() >= until {
                return true;
            }
            self.listen();
        }
        false
    }

    /// Waits for the end of the command, not for long.
    fn wait_briefly(&mut self) {
        let until = Instant::now() + KILL_GRACE;
        while self.exited_at.is_none() && Instant::now() < until {
            self.poll_once(None, TICK);
            self.listen();
            self.look_for_end();
        }
    }

    /// Ends the command and says why; and that it goes on, if it does.
    fn stop(&mut self, kind: SourceErrorKind, why: &str) -> SourceError {
        self.kill();
        SourceError::new(kind, format!("{} {why}{}", self.program, self.remains))
    }

    /// What goes on though the command was ended.
    pub(super) fn remains(&self) -> Remains {
        self.remains
    }

    /// One wait for the data pipe, with everything that may end it.
    fn wait(&mut self, flags: PollFlags, cancelled: &dyn Fn() -> bool) -> Result<(), SourceError> {
        let watched = (!flags.is_empty()).then_some(flags);
        self.poll_once(watched, TICK);
        self.look_around(cancelled)
    }

    /// What ends a wait: ^C, the time, a question that nobody answers.
    fn look_around(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), SourceError> {
        self.listen();
        if cancelled() {
            return Err(self.stop(SourceErrorKind::Cancelled, "was stopped on request"));
        }
        if let Some((_, timeout)) = self.deadline.filter(|(at, _)| Instant::now() >= *at) {
            let why = format!("did not end within {timeout:?}");
            let error = self.stop(SourceErrorKind::Program, &why);
            return Err(self.with_tail(error));
        }
        if self.look_for_end() {
            return Err(SourceError::new(
                SourceErrorKind::Program,
                format!(
                    "{} stopped to ask on the terminal; give it its password by file or environment",
                    self.program
                ),
            ));
        }
        Ok(())
    }

    /// Waits for anything to happen, on the data pipe only for what is asked for. Answers what is so of that pipe.
    fn poll_once(&self, of_data: Option<PollFlags>, at_most: Duration) -> PollFlags {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
        let data = self.data.as_ref().zip(of_data);
        fds.extend(data.map(|(data, flags)| PollFd::new(data, flags)));
        for talk in &self.talk {
            fds.extend(talk.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        }
        if self.exited_at.is_none() {
            fds.extend(
                self.pidfd
                    .as_ref()
                    .map(|pidfd| PollFd::new(pidfd, PollFlags::IN)),
            );
        }
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        // An interrupted wait is a short one: the callers look at the state anyway.
        let _ready = poll(&mut fds, Some(&tick));
        let of_data = fds.first().filter(|_| data.is_some());
        of_data.map_or(PollFlags::empty(), PollFd::revents)
    }

    fn listen(&mut self) {
        for talk in &mut self.talk {
            talk.drain();
        }
    }

    /// Notes the end of the child; tells whether it hangs on a question to the terminal.
    fn look_for_end(&mut self) -> bool {
        if self.exited_at.is_some() {
            return false;
        }
        let Some(pid) = pid_of(&self.child) else {
            return false;
        };
        let options = WaitIdOptions::EXITED
            | WaitIdOptions::STOPPED
            | WaitIdOptions::NOHANG
            | WaitIdOptions::NOWAIT;
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), options) else {
            return false;
        };
        if status.stopped() {
            let signal = status.stopping_signal();
            return [Signal::TTIN, Signal::TTOU]
                .iter()
                .any(|tty| Some(tty.as_raw()) == signal);
        }
        self.exited_at = Some(Instant::now());
        false
    }

    /// The command closed its input early: its status says why, if it has one.
    fn deaf(&mut self, cancelled: &dyn Fn() -> bool) -> SourceError {
        match self.end(cancelled) {
            Err(error) => error,
            Ok(()) => self.with_tail(SourceError::new(
                SourceErrorKind::Program,
                format!(
                    "{} ended with status 0 before it had read everything",
                    self.program
                ),
            )),
        }
    }

    fn orphaned(&self) -> SourceError {
        self.with_tail(SourceError::new(
            SourceErrorKind::Program,
            format!(
                "{} ended, but a process it left behind keeps its output open, so its end cannot be proved",
                self.program
            ),
        ))
    }

    fn failed(&self, act: &str) -> SourceError {
        SourceError::new(SourceErrorKind::Other, format!("{act} {}", self.program))
    }

    fn with_tail(&self, error: SourceError) -> SourceError {
        let tail: Vec<_> = self.said().collect();
        if tail.is_empty() {
            return error;
        }
        error.because(tail.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn cannot_start(program: &str, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        ErrorKind::NotFound => SourceErrorKind::Missing,
        ErrorKind::PermissionDenied => SourceErrorKind::Denied,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("cannot start {program}")).because(error)
}
