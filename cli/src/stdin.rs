//! Standard input as a source: one stream of bytes, read once.

use std::io::{self, Read as _};
use std::os::fd::AsFd;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, Consistency, Meta, OpenFacts, Opened, Profile, Sink, Source, SourceError,
    SourceErrorKind, StreamFacts, StreamSpec,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::CliError;

/// How often ^C is looked at while nothing comes.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What is piped in.
pub(crate) struct StdinSource {
    path: RepoPath,
}

impl StdinSource {
    /// Names the stream.
    pub(crate) fn new(name: &str) -> Result<Self, CliError> {
        Ok(Self {
            path: stream_name(name)?,
        })
    }
}

/// The name that the user gave a stream.
pub(crate) fn stream_name(name: &str) -> Result<RepoPath, CliError> {
    let path = RepoPath::parse(name).ok().filter(|path| !path.is_root());
    path.ok_or_else(|| CliError::usage(format!("--stdin-filename {name} cannot name a stream")))
}

impl Source for StdinSource {
    fn kind(&self) -> &'static str {
        "stdin"
    }

    fn address(&self) -> String {
        "stdin".into()
    }

    fn consistency(&self) -> Consistency {
        Consistency::PerStream
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        Ok(Box::new(OpenedStdin {
            path: self.path.clone(),
        }))
    }
}

struct OpenedStdin {
    path: RepoPath,
}

impl Opened for OpenedStdin {
    fn facts(&self) -> OpenFacts {
        OpenFacts::default()
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        sink.begin(StreamSpec {
            path: self.path.clone(),
            profile: Profile::Bytes,
            meta: Meta {
                mode: 0o600,
                ..Meta::default()
            },
            size_hint_bytes: None,
        })?;
        let mut buffer = vec![0; 1024 * 1024];
        let mut stdin = io::stdin().lock();
        loop {
            wait(&stdin, sink)?;
            let count = stdin.read(&mut buffer).map_err(|error| {
                SourceError::new(SourceErrorKind::Interrupted, "cannot read standard input")
                    .because(error)
            })?;
            if count == 0 {
                break;
            }
            sink.write(buffer.get(..count).unwrap_or_default())?;
        }
        sink.finish(StreamFacts::default())?;
        Ok(CaptureReport::default())
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Waits until there is something to read, or its end. A writer that hangs does not keep the run from being stopped.
fn wait(stdin: &impl AsFd, sink: &dyn Sink) -> Result<(), SourceError> {
    loop {
        if sink.cancelled() {
            let stopped = "reading standard input was stopped on request";
            return Err(SourceError::new(SourceErrorKind::Cancelled, stopped));
        }
        let mut fds = [PollFd::new(stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // What cannot be waited for is read: its error says more.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}
