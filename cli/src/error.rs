//! What went wrong, for the user: message, advice, exit code. Advice lives here; the engine knows no verb.

use std::io;
use std::path::PathBuf;

use crate::exit::ExitCode;

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line or the environment cannot be used.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// What to do instead, a sentence.
        hint: Option<String>,
    },
    /// The configuration file cannot be used.
    #[error("{}{}: {problem}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong; never a value of the file, which may be a secret.
        problem: String,
        /// What to do, a sentence.
        hint: Option<String>,
    },
    /// A file or folder of ours cannot be used.
    #[error("cannot {act} {}", path.display())]
    File {
        /// The attempted act.
        act: &'static str,
        /// The object.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A password could not be got.
    #[error("{act}")]
    Password {
        /// The attempted act.
        act: String,
        /// What to do, a sentence.
        hint: Option<String>,
        /// What the system said.
        source: Option<io::Error>,
    },
    /// Results could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The user said no, or could not be asked.
    #[error("{0}")]
    Refused(String),
    /// The engine part of this verb is not there yet.
    #[error("{0} is not available in this build")]
    Unavailable(&'static str),
}

impl CliError {
    /// A usage error without advice.
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage {
            problem: problem.into(),
            hint: None,
        }
    }

    /// Adds or replaces the advice, where the kind of error has room for it.
    #[must_use]
    pub(crate) fn hint(mut self, advice: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } | Self::Config { hint, .. } | Self::Password { hint, .. } =
            &mut self
        {
            *hint = Some(advice.into());
        }
        self
    }

    /// What the process answers.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage { .. } | Self::Config { .. } => ExitCode::Usage,
            // Whoever stopped reading has what they wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::Done,
            Self::Output(error) | Self::File { source: error, .. } if is_full(error) => {
                ExitCode::NoSpace
            }
            _ => ExitCode::Failed,
        }
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit_code() == ExitCode::Done
    }

    /// The message with everything underneath, on one line.
    pub(crate) fn message(&self) -> String {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        message
    }

    /// What to do, a sentence.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Config { hint, .. } | Self::Password { hint, .. } => {
                hint.clone()
            }
            error if error.exit_code() == ExitCode::NoSpace => {
                Some("Free some space there and run it again.".into())
            }
            _ => None,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_cause_once() {
        let error = CliError::File {
            act: "read the configuration",
            path: "/etc/x".into(),
            source: io::Error::other("it is gone"),
        };
        assert_eq!(
            error.message(),
            "cannot read the configuration /etc/x: it is gone"
        );
        assert_eq!(error.exit_code(), ExitCode::Failed);
    }

    #[test]
    fn a_full_disk_has_its_own_code() {
        let error = CliError::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(error.exit_code(), ExitCode::NoSpace);
        let error = CliError::Output(io::ErrorKind::BrokenPipe.into());
        assert!(error.is_silent());
    }
}
