//! What a server or its connection can answer instead of what was asked for, and what kind of failure that is.

use std::io;

use keepstone_engine::source::{SourceError, SourceErrorKind};

/// A failure below the level of a source: it does not know yet what was attempted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PgError {
    /// The server answered with an error.
    #[error("{message} ({code}){detail}")]
    Server {
        /// SQLSTATE, five characters.
        code: String,
        /// The server's own sentence.
        message: String,
        /// Its detail and context, each after a `: `; or empty.
        detail: String,
    },
    /// The connection ended in the middle of an answer.
    #[error("the server closed the connection")]
    Closed,
    /// No byte came for this long.
    #[error("no answer for {0} s")]
    Timeout(u64),
    /// We were asked to stop.
    #[error("stopped")]
    Stopped,
    /// The connection could not be made, read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection could not be encrypted as asked.
    #[error("{0}")]
    Tls(String),
    /// The server wants something to prove who we are that we do not have.
    #[error("{0}")]
    Credentials(String),
    /// The answer is none that the protocol allows here.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// A table came after the others were locked.
    #[error(
        "table {0} was made or renamed while the others were being locked; it happened again and again"
    )]
    Unlocked(String),
    /// An error of the other side of a copy, passed through unchanged.
    #[error("{0}")]
    Source(SourceError),
}

impl From<SourceError> for PgError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl PgError {
    /// SQLSTATE of the server's error; empty for any other failure.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Server { code, .. } => code,
            _ => "",
        }
    }

    /// Says what was attempted. An error that already says it is passed on unchanged.
    pub(crate) fn during(self, act: impl Into<String>) -> SourceError {
        let kind = match &self {
            Self::Source(_) => None,
            Self::Server { code, .. } => Some(kind_of_code(code)),
            Self::Closed | Self::Unlocked(_) => Some(SourceErrorKind::Interrupted),
            Self::Io(error) => Some(kind_of_io(error)),
            Self::Timeout(_) | Self::Tls(_) => Some(SourceErrorKind::Unreachable),
            Self::Stopped => Some(SourceErrorKind::Cancelled),
            Self::Credentials(_) => Some(SourceErrorKind::Denied),
            Self::Protocol(_) => Some(SourceErrorKind::Other),
        };
        match (self, kind) {
            (Self::Source(error), _) => error,
            (error, kind) => {
                SourceError::new(kind.unwrap_or(SourceErrorKind::Other), act).because(error)
            }
        }
    }
}

fn kind_of_io(error: &io::Error) -> SourceErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => SourceErrorKind::Interrupted,
        _ => SourceErrorKind::Unreachable,
    }
}

fn kind_of_code(code: &str) -> SourceErrorKind {
    match code {
        "42501" => SourceErrorKind::Denied,
        "3D000" => SourceErrorKind::Missing,
        "53100" => SourceErrorKind::NoSpace,
        // Lock not granted in time, no connection free, server starting: an answer that did not come.
        "55P03" | "53300" | "57P03" => SourceErrorKind::Unreachable,
        "42P04" => SourceErrorKind::Occupied,
        _ if code.starts_with("28") => SourceErrorKind::Denied,
        // In a transaction that only reads: a standby server had to undo what it shows.
        "40001" => SourceErrorKind::Interrupted,
        _ if code.starts_with("57P") || code.starts_with("08") => SourceErrorKind::Interrupted,
        _ => SourceErrorKind::Other,
    }
}
