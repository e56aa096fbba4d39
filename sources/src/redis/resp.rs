//! Commands as bytes: arrays of strings, the one form that servers and `redis-cli --pipe` read.

use std::io::Write as _;

/// Appends one command.
pub(super) fn put_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, arguments: &[A]) {
    // Writing into memory does not fail.
    let _ = write!(out, "*{}\r\n", arguments.len());
    for argument in arguments {
        let bytes = argument.as_ref();
        let _ = write!(out, "${}\r\n", bytes.len());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

/// Commands that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) count: usize,
}

impl Batch {
    /// Appends one command.
    pub(super) fn push<A: AsRef<[u8]>>(&mut self, arguments: &[A]) {
        put_command(&mut self.bytes, arguments);
        self.count += 1;
    }

    /// Starts anew and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}
