//! What a command says to people: shown line by line, the last lines kept.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;

use super::LineHook;

/// Lines of what the command said that are kept.
const TAIL_LINES: usize = 20;
/// Characters of one such line that are kept.
const LINE_CHARS: usize = 500;

/// A pipe on which the command talks to people.
pub(super) struct Talk {
    pipe: Option<File>,
    on_line: Option<LineHook>,
    partial: Vec<u8>,
    lines: VecDeque<String>,
}

impl Talk {
    /// Listens to a pipe that does not block.
    pub(super) fn new(pipe: OwnedFd, on_line: Option<LineHook>) -> Self {
        Self {
            pipe: Some(pipe.into()),
            on_line,
            partial: Vec::new(),
            lines: VecDeque::new(),
        }
    }

    /// The pipe, until its end.
    pub(super) fn pipe(&self) -> Option<&File> {
        self.pipe.as_ref()
    }

    /// The last lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Takes what is there without waiting for more.
    pub(super) fn drain(&mut self) {
        let mut buffer = [0; 16 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
        self.end_line();
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || *byte == b'\r' {
                self.end_line();
            } else if self.partial.len() < LINE_CHARS * 4 {
                self.partial.push(*byte);
            }
        }
    }

    /// Counts what came after the last line end as a line.
    pub(super) fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.partial);
        // A terminal must not obey what a program's error message holds.
        let line: String = text
            .trim_end()
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(LINE_CHARS)
            .collect();
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        if let Some(on_line) = &self.on_line {
            on_line(&line);
        }
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}
