//! What keeps a restore from replacing what lies at its target, and would not if it were forced. How to force it is said by
//! whoever knows the options that a user has.

use std::fmt;
use std::path::{Path, PathBuf};

use keepstone_engine::source::{SourceError, SourceErrorKind};

/// What is in the way: the cause of an error that `SqliteTargetOptions::force` prevents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// The file holds something else.
    NotADatabase(PathBuf),
    /// Others have the database open.
    InUse(PathBuf, Vec<String>),
}

impl Hindrance {
    /// The error of a file that holds something else.
    pub(super) fn not_a_database(live: &Path) -> SourceError {
        Self::NotADatabase(live.to_owned()).into_error()
    }

    /// The error of a database that others have open, as far as they are known.
    pub(super) fn in_use(live: &Path, users: &[String]) -> SourceError {
        Self::InUse(live.to_owned(), users.to_vec()).into_error()
    }

    /// Says the same as its cause, by which the command line knows it.
    fn into_error(self) -> SourceError {
        SourceError::new(SourceErrorKind::Occupied, self.to_string()).because(self)
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADatabase(live) => write!(f, "{} is not a SQLite database", live.display()),
            Self::InUse(live, users) if users.is_empty() => {
                write!(f, "another process has {} open", live.display())
            }
            Self::InUse(live, users) => {
                write!(
                    f,
                    "process {} has {} open",
                    users.join(", "),
                    live.display()
                )
            }
        }
    }
}

impl std::error::Error for Hindrance {}
