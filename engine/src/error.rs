//! The engine's error: one variant per thing a caller does differently.
//!
//! A message names the object and the attempted act, in lower case, without its own source; the command line prints
//! the chain and adds the advice.

use crate::backend::{BackendError, BackendErrorKind, ObjectKey, ObjectKind};
use crate::codec::FormatError;
use crate::id::{ChunkId, SessionId};
use crate::source::SourceError;

/// Why an operation of the engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No key slot opens with this password or key file.
    #[error("no key slot of the repository opens with this password or key file")]
    WrongPassword,
    /// There is no repository at the address.
    #[error("no repository at {address}")]
    NoRepository {
        /// Where it was looked for.
        address: String,
    },
    /// There is a repository already, or something that init must not touch.
    #[error("{address} already holds {what}")]
    Occupied {
        /// Where it lies.
        address: String,
        /// What was found.
        what: String,
    },
    /// Another program's repository.
    #[error("{address} is a {program} repository")]
    ForeignRepository {
        /// Where it lies.
        address: String,
        /// Whose it is.
        program: String,
    },
    /// The repository was made by a newer program.
    #[error("the repository needs {found}, this program reads up to {supported}")]
    UnsupportedFormat {
        /// What the config names.
        found: String,
        /// What this program knows.
        supported: String,
    },
    /// The session was ended by somebody else before it could commit.
    #[error("session {session} was fenced before it could commit")]
    Fenced {
        /// The session that cannot commit.
        session: SessionId,
    },
    /// Bytes that do not decode or do not authenticate.
    #[error("{object} is damaged")]
    Corrupt {
        /// What was read.
        object: String,
        /// What was wrong with it.
        source: FormatError,
    },
    /// An object of the repository that should be there is not.
    #[error("{object} is missing")]
    Missing {
        /// What was looked for.
        object: String,
    },
    /// A chunk that nothing in the repository makes.
    #[error("chunk {chunk} is in no pack of the repository")]
    MissingChunk {
        /// The chunk.
        chunk: ChunkId,
    },
    /// The backend refused or failed.
    #[error("cannot {act} {object}")]
    Backend {
        /// What was tried.
        act: &'static str,
        /// On which object or place.
        object: String,
        /// What the backend said.
        source: BackendError,
    },
    /// A source failed while it was captured or rebuilt.
    #[error("source {name} failed")]
    Source {
        /// Name of the source in this run.
        name: String,
        /// What the source said.
        source: SourceError,
    },
    /// The rebuilt data does not equal what was recorded; everything was rolled back.
    #[error("validation of {name} failed and the restore was rolled back: {difference}")]
    Validation {
        /// Name of the source.
        name: String,
        /// The first difference.
        difference: String,
    },
    /// A restore failed, and so did bringing back what was there.
    #[error("{failure}; and what it left behind could not be undone")]
    NotUndone {
        /// Why the restore failed, with its causes.
        failure: String,
        /// Why it could not be undone.
        source: Box<Error>,
    },
    /// The name does not lead to exactly one object.
    #[error("{what}")]
    NotFound {
        /// What was looked for and what was found.
        what: String,
    },
    /// A request that cannot be carried out as it stands.
    #[error("{what}")]
    Refused {
        /// What is refused and why.
        what: String,
    },
    /// The repository is not the one that was used before, or lost snapshots.
    #[error("{what}")]
    RolledBack {
        /// What changed.
        what: String,
    },
    /// The local file system failed: state folder, cache, restore folder.
    #[error("cannot {act} {path}")]
    Local {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the repository is damaged, and not the way to it.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Missing { .. } | Self::MissingChunk { .. }
        )
    }

    /// Whether the medium did not give a small record back: the sector is lost, or the disk is gone for the moment.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Backend { source, .. } if source.kind() == BackendErrorKind::Unreadable)
    }

    /// None where the repository is damaged: for what can be done without.
    pub(crate) fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_damage() => {
                tracing::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Names the object of a backend failure.
    pub(crate) fn backend(act: &'static str, key: &ObjectKey) -> impl FnOnce(BackendError) -> Self {
        let object = key.to_string();
        move |source| Self::Backend {
            act,
            object,
            source,
        }
    }

    /// Of a get that failed: an object that is not there, or is too short, is the repository's damage. So is a pack or an index
    /// that the medium does not give back: others may say or hold the same, and what only it holds is left out. Of a small
    /// record that says nothing: the disk may be gone for the moment, and what is decided by it is not to be guessed.
    pub(crate) fn unread(key: &ObjectKey) -> impl FnOnce(BackendError) -> Self {
        let key = *key;
        let is_spare = matches!(key.kind(), ObjectKind::Pack | ObjectKind::Index);
        move |error| match error.kind() {
            BackendErrorKind::NotFound => Self::Missing {
                object: key.to_string(),
            },
            kind if kind == BackendErrorKind::Truncated
                || (kind == BackendErrorKind::Unreadable && is_spare) =>
            {
                Self::corrupt(key)(FormatError::new("object", error.to_string()))
            }
            _ => Self::backend("read", &key)(error),
        }
    }

    /// Names the object of a format failure.
    pub(crate) fn corrupt(object: impl std::fmt::Display) -> impl FnOnce(FormatError) -> Self {
        let object = object.to_string();
        move |source| Self::Corrupt { object, source }
    }
}
