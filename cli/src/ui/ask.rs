//! Waiting for an answer. Nothing is half done while a question is asked, so that the first ^C ends the run.

use std::io::BufRead;
use std::os::fd::AsFd;

use keepstone_engine::backup::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::CliError;

/// How often ^C is looked at: a read that it interrupts would go on waiting.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Reads a line of a terminal, which has all of it or none; none: the user asked to stop.
pub(super) fn read_line(
    input: &mut (impl BufRead + AsFd),
    cancel: &Cancel,
) -> Result<Option<String>, CliError> {
    loop {
        if cancel.is_set() {
            return Ok(None);
        }
        match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(Errno::INTR) => {}
            // What cannot be waited for is read: its error says more.
            Ok(_) | Err(_) => break,
        }
    }
    let mut line = String::new();
    let read = input.read_line(&mut line);
    read.map_err(|source| CliError::File {
        act: "read an answer from",
        path: "standard input".into(),
        source,
    })?;
    Ok(Some(line))
}
