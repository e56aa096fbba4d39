//! Why a source could not be captured or rebuilt.

use std::fmt;

/// What kind of failure it is: decides the exit code and the advice, never the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// The settings or the URL cannot be used.
    Settings,
    /// The system cannot be reached, or an answer never came.
    Unreachable,
    /// The system refused the credentials or lacks a privilege.
    Denied,
    /// The connection or the stream ended before its proved end.
    Interrupted,
    /// A program that was started failed, or its end cannot be proved.
    Program,
    /// What was asked for is not there.
    Missing,
    /// The preflight refuses: not enough memory or space, versions, cluster mode.
    Preflight,
    /// The target holds something that a restore would overwrite.
    Occupied,
    /// What was rebuilt does not equal what was captured.
    Validation,
    /// No space left on the target.
    NoSpace,
    /// The bytes of the capture cannot be understood.
    Corrupt,
    /// The user or the engine asked to stop.
    Cancelled,
    /// The engine's side of the sink or of the items failed; the cause is kept there.
    Engine,
    /// What the engine reads lies damaged in the repository or is missing there; the cause is kept there.
    Damage,
    /// Anything else the system answered.
    Other,
}

/// A failure of one source: which act on which object, and what was answered.
pub struct SourceError {
    kind: SourceErrorKind,
    act: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// Makes an error from the attempted act, for example `cannot connect to redis at localhost:6379`.
    /// The act must hold no secret.
    pub fn new(kind: SourceErrorKind, act: impl Into<String>) -> Self {
        Self {
            kind,
            act: act.into(),
            cause: None,
        }
    }

    /// Adds what was underneath. Its message is printed after the act.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Kind of the failure.
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// Whether something lies damaged in the repository or is missing there. It concerns what was read, and nothing else.
    pub fn is_damage(&self) -> bool {
        matches!(
            self.kind,
            SourceErrorKind::Corrupt | SourceErrorKind::Missing | SourceErrorKind::Damage
        )
    }

    /// Takes the cause out, so that the engine gets its own error back through a source.
    pub fn into_cause(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.cause
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.act)
    }
}

impl fmt::Debug for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.act)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
