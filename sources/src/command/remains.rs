//! What goes on of a command though it was ended, and what it will make of its input.

use std::fmt;

/// Who could not be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// The command itself, by its process: we may not end it.
    pub(super) process: Option<u32>,
    /// Somebody still waits for the rest of the input.
    pub(super) starves: bool,
    /// Somebody was fed by one whom we could end, and has seen the end.
    pub(super) outlives: bool,
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(process) = self.process {
            write!(
                f,
                "; it could not be ended either, and goes on as process {process}"
            )?;
        }
        if self.starves {
            let who = match self.process {
                Some(_) => "it",
                None => "a process that it left behind",
            };
            return write!(
                f,
                "; {who} will take what it was fed for the whole when this process ends: look at what it did"
            );
        }
        if self.outlives {
            f.write_str(
                "; a process that it started could not be ended, and may take what it was fed for the whole: look at what it \
                 does",
            )?;
        }
        Ok(())
    }
}
