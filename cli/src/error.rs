//! What went wrong, for the user: message, advice, exit code. Advice lives here; the engine knows no verb.

use std::io;
use std::path::PathBuf;

use keepstone_engine::Error as EngineError;
use keepstone_engine::backend::address::AddressError;
use keepstone_engine::backend::{BackendError, BackendErrorKind};
use keepstone_engine::source::{SourceError, SourceErrorKind};

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
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] keepstone_engine::Error),
    /// A backup failed.
    #[error(transparent)]
    Capture(EngineError),
    /// A source's settings cannot be used, or an export or restore failed.
    #[error(transparent)]
    Source(#[from] keepstone_engine::source::SourceError),
    /// The repository address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Two runs would use the same thing at once.
    #[error("{0}")]
    Busy(String),
    /// Another process works on what was named.
    #[error("{0}")]
    Running(String),
    /// Any of them, where more can be advised than its kind tells.
    #[error("{error}")]
    Advised {
        /// What went wrong.
        #[source]
        error: Box<CliError>,
        /// What to do, a sentence.
        advice: String,
    },
}

impl CliError {
    /// A usage error without advice.
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage {
            problem: problem.into(),
            hint: None,
        }
    }

    /// Adds or replaces the advice.
    #[must_use]
    pub(crate) fn hint(mut self, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        match &mut self {
            Self::Usage { hint, .. } | Self::Config { hint, .. } | Self::Password { hint, .. } => {
                *hint = Some(advice);
                self
            }
            _ => Self::Advised {
                error: Box::new(self),
                advice,
            },
        }
    }

    /// What the process answers.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage { .. } | Self::Config { .. } | Self::Address(_) => ExitCode::Usage,
            Self::Engine(error) | Self::Capture(error) => engine_exit(error),
            Self::Source(error) => source_exit(error, ExitCode::Failed),
            Self::Busy(_) | Self::Running(_) => ExitCode::NotAlone,
            Self::Advised { error, .. } => error.exit_code(),
            Self::Output(error) | Self::File { source: error, .. } if is_full(error) => {
                ExitCode::NoSpace
            }
            _ => ExitCode::Failed,
        }
    }

    /// The message with everything underneath, on one line.
    pub(crate) fn message(&self) -> String {
        in_one_line(self)
    }

    /// What to do, a sentence.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Config { hint, .. } | Self::Password { hint, .. } => {
                hint.clone()
            }
            Self::Engine(error) => engine_advice(error),
            Self::Capture(error) => capture_advice(error),
            Self::Source(error) => source_advice(error),
            Self::Address(error) => Some(error.advice().into()),
            Self::Busy(_) => Some("Wait for it to end, or give another --state-dir.".into()),
            Self::Running(_) => Some("Wait for it to end.".into()),
            Self::Advised { advice, .. } => Some(advice.clone()),
            error if error.exit_code() == ExitCode::NoSpace => {
                Some("Free some space there and run it again.".into())
            }
            _ => None,
        }
    }
}

/// An error with everything underneath.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        match parts.last_mut() {
            // Some causes begin with what was said above them, and some are quoted there.
            Some(above) if text.starts_with(above.as_str()) => *above = text,
            Some(above) if above.ends_with(&text) => {}
            _ => parts.push(text),
        }
        cause = error.source();
    }
    parts.join(": ")
}

fn engine_exit(error: &EngineError) -> ExitCode {
    match error {
        EngineError::NoRepository { .. } => ExitCode::NoRepository,
        EngineError::WrongPassword => ExitCode::WrongPassword,
        EngineError::UnsupportedFormat { .. } => ExitCode::UnknownFormat,
        EngineError::Fenced { .. } => ExitCode::Fenced,
        EngineError::Corrupt { .. }
        | EngineError::Missing { .. }
        | EngineError::MissingChunk { .. } => ExitCode::Damage,
        EngineError::RolledBack { .. } => ExitCode::RepositoryChanged,
        EngineError::Validation { .. } => ExitCode::ValidationFailed,
        EngineError::Cancelled => ExitCode::Interrupted,
        EngineError::Backend { source, .. } => backend_exit(source),
        EngineError::Source { source, .. } => source_exit(source, ExitCode::SourceFailed),
        EngineError::NotUndone { .. } => ExitCode::SourceFailed,
        EngineError::Local { source, .. } if is_full(source) => ExitCode::NoSpace,
        _ => ExitCode::Failed,
    }
}

fn backend_exit(error: &BackendError) -> ExitCode {
    match error.kind() {
        BackendErrorKind::NoSpace => ExitCode::NoSpace,
        BackendErrorKind::NotFound => ExitCode::NoRepository,
        _ => ExitCode::Failed,
    }
}

fn source_exit(error: &SourceError, otherwise: ExitCode) -> ExitCode {
    match error.kind() {
        SourceErrorKind::NoSpace => ExitCode::NoSpace,
        SourceErrorKind::Validation => ExitCode::ValidationFailed,
        SourceErrorKind::Cancelled => ExitCode::Interrupted,
        SourceErrorKind::Settings => ExitCode::Usage,
        SourceErrorKind::Engine | SourceErrorKind::Damage => std::error::Error::source(error)
            .and_then(|cause| cause.downcast_ref::<EngineError>())
            .map_or(otherwise, engine_exit),
        _ => otherwise,
    }
}

/// What to do about damage.
pub(crate) const DAMAGE_ADVICE: &str =
    "Run keepstone check --read-data: it names what is damaged and which snapshots stand on it.";

/// What to do about a failure of the engine, a sentence.
pub(crate) fn engine_advice(error: &EngineError) -> Option<String> {
    let advice = match error {
        EngineError::NoRepository { .. } => "Make one with keepstone init, or check --repo.",
        EngineError::WrongPassword => {
            "Check the password file or command; keepstone key list names the slots."
        }
        EngineError::UnsupportedFormat { .. } => "Use the newer keepstone that wrote it.",
        EngineError::Fenced { .. } => {
            "A prune took this run for dead. Run it again: what it has stored is found there."
        }
        EngineError::Corrupt { object, .. } if object.starts_with("end/") => {
            "If no copy of it can be put back, keepstone forget gives that snapshot up, and the others go on."
        }
        EngineError::Corrupt { object, .. }
            if object.starts_with("gc/") || object.starts_with("settled/") =>
        {
            "No snapshot stands on it. Delete that object while no backup and no prune runs."
        }
        EngineError::Corrupt { .. }
        | EngineError::Missing { .. }
        | EngineError::MissingChunk { .. } => DAMAGE_ADVICE,
        EngineError::RolledBack { .. } => {
            "If you know why, say --accept-change once. If not, somebody else changed the store: look at it before you rely on it."
        }
        EngineError::Occupied { .. } => {
            "Use another --repo; an existing repository is never made anew."
        }
        EngineError::ForeignRepository { .. } => {
            "Use another --repo; keepstone does not read or write it."
        }
        EngineError::Validation { .. } => {
            "Live data is as it was. What differs is listed above: a server of another version, or with other settings, may not be able to hold it. If the repository is suspected, run keepstone check --read-data."
        }
        EngineError::NotUndone { .. } => {
            "keepstone restore --list names it. --rollback tries again, --resume goes on; --discard-old lets it be."
        }
        EngineError::Source { source, .. } => return source_advice(source),
        EngineError::Backend { source, .. } => return backend_advice(source),
        _ => return None,
    };
    Some(advice.into())
}

fn backend_advice(error: &BackendError) -> Option<String> {
    let advice = match error.kind() {
        BackendErrorKind::NoSpace => {
            "Free some space there and run it again; what was committed before is unharmed."
        }
        BackendErrorKind::NotFound => "Check --repo; a repository is made by keepstone init.",
        BackendErrorKind::Denied | BackendErrorKind::ReadOnly => {
            "Check that this user may read and write there."
        }
        BackendErrorKind::Unreachable | BackendErrorKind::Throttled => {
            "Check the address and the network, and run it again."
        }
        _ => return None,
    };
    Some(advice.into())
}

fn source_advice(error: &SourceError) -> Option<String> {
    let advice = match error.kind() {
        SourceErrorKind::Unreachable => "Check that it runs and that its address is right.",
        SourceErrorKind::Denied => {
            "Check what this user may do there, and the password if there is one."
        }
        SourceErrorKind::Interrupted => "Run it again.",
        SourceErrorKind::Program => {
            "Run that program by itself, as this user, to see what it lacks."
        }
        SourceErrorKind::Missing => "Check the path or name.",
        SourceErrorKind::Occupied => "Name another target, or remove what is there.",
        SourceErrorKind::NoSpace => "Free some space there and run it again.",
        _ => return None,
    };
    Some(advice.into())
}

/// A source that fails takes the run along.
fn capture_advice(error: &EngineError) -> Option<String> {
    let advice = engine_advice(error);
    if engine_exit(error) != ExitCode::SourceFailed {
        return advice;
    }
    let advice = advice.map_or_else(String::new, |advice| advice + " ");
    Some(advice + "Nothing was committed; --partial saves the other sources.")
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
    fn what_a_cause_repeats_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the configuration /etc/x: it is gone")]
        struct Repeating(#[source] io::Error);
        let cause = Repeating(io::Error::other("it is gone"));
        let error = CliError::File {
            act: "read the configuration",
            path: "/etc/x".into(),
            source: io::Error::other(cause),
        };
        assert_eq!(
            error.message(),
            "cannot read the configuration /etc/x: it is gone"
        );
    }

    #[test]
    fn a_full_disk_has_its_own_code() {
        let error = CliError::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(error.exit_code(), ExitCode::NoSpace);
        let error = CliError::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(error.exit_code(), ExitCode::Failed);
    }
}
