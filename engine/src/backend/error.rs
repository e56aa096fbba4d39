//! Why a backend could not do what it was asked: the kind decides what the caller does, the words are for people.

use std::fmt;

use super::key::ObjectKey;

/// What kind of failure it is. Whether to try again is decided by this and by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The object, the folder or the bucket is not there.
    NotFound,
    /// An object of this name is there already.
    AlreadyExists,
    /// The store refuses: credentials, permissions.
    Denied,
    /// The store asks to come back later.
    Throttled,
    /// No answer, or none that could be read: the act may have been done or not.
    Unreachable,
    /// No space left, or a quota is used up.
    NoSpace,
    /// The object is shorter than what was asked for.
    Truncated,
    /// The medium does not give back what it was given.
    Unreadable,
    /// The file system is mounted read-only.
    ReadOnly,
    /// Something else lies where a repository is to be made.
    Occupied,
    /// The store or the address cannot do what a repository needs.
    Unsupported,
    /// Anything else.
    Other,
}

impl BackendErrorKind {
    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "it does not exist",
            Self::AlreadyExists => "it exists already",
            Self::Denied => "access is denied",
            Self::Throttled => "the store asks to come back later",
            Self::Unreachable => "the store cannot be reached",
            Self::NoSpace => "no space is left",
            Self::Truncated => "it is shorter than what was asked for",
            Self::Unreadable => "the medium cannot read it",
            Self::ReadOnly => "the file system is read-only",
            Self::Occupied => "something else lies there",
            Self::Unsupported => "this is not supported",
            Self::Other => "the store failed",
        }
    }
}

impl fmt::Display for BackendErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A failure of a backend: which act on which object, of what kind, and what was answered. One pointer, so that it may
/// be the error of anything.
pub struct BackendError(Box<Failure>);

struct Failure {
    kind: BackendErrorKind,
    act: &'static str,
    key: Option<ObjectKey>,
    place: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BackendError {
    /// Makes an error from the attempted act, a verb such as `write` or `create the folder`.
    pub fn new(kind: BackendErrorKind, act: &'static str) -> Self {
        Self(Box::new(Failure {
            kind,
            act,
            key: None,
            place: None,
            source: None,
        }))
    }

    /// Names the object.
    #[must_use]
    pub fn on(mut self, key: &ObjectKey) -> Self {
        self.0.key = Some(*key);
        self
    }

    /// Names a folder, a file or a store where there is no object to name. Must hold no secret.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// Adds what was underneath; its message is printed after this one's. Must hold no secret.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Kind of the failure.
    pub fn kind(&self) -> BackendErrorKind {
        self.0.kind
    }

    /// The object, if the act had one.
    pub fn key(&self) -> Option<&ObjectKey> {
        self.0.key.as_ref()
    }

    /// What was attempted.
    pub fn act(&self) -> &'static str {
        self.0.act
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.0.act)?;
        if let Some(key) = &self.0.key {
            write!(f, " {key}")?;
        }
        if let Some(place) = &self.0.place {
            write!(f, " {place}")?;
        }
        write!(f, ": {}", self.0.kind)
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
