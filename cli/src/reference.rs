//! How a user names a snapshot, and something in it: `latest`, `latest~2`, `3fc2a9`, `latest:/etc/app`.

use std::fmt;
use std::str::FromStr;

use keepstone_engine::id::{ChunkId, SnapshotId};
use keepstone_engine::path::RepoPath;

use crate::source_name::SourceName;

/// A snapshot as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotRef {
    /// The newest that fits the filters, or so many before it.
    Latest {
        /// How many to go back.
        back: u32,
    },
    /// The one whose id begins with these lower-case hexadecimal digits.
    Id(String),
}

/// A snapshot, and perhaps something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The snapshot.
    pub(crate) snapshot: SnapshotRef,
    /// What is meant in it; none: all of it.
    pub(crate) address: Option<Address>,
}

/// Something in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A file or folder by the path it was saved from, without the leading slash.
    File(RepoPath),
    /// A source, or a stream in it.
    InSource {
        /// The source.
        source: SourceName,
        /// The stream; the root for the whole source.
        path: RepoPath,
    },
}

/// The first digits of an id, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HexPrefix(String);

impl HexPrefix {
    /// The digits, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HexPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The longest ids are those of chunks.
        let is_id = (1..=2 * ChunkId::LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("give an id or its first hexadecimal digits".into())
        }
    }
}

impl fmt::Display for HexPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text names no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    /// Neither of the forms.
    #[error("not a snapshot: give an id or its first digits, latest, or latest~N")]
    Snapshot,
    /// The part after the colon.
    #[error("not an address in a snapshot: write ID:/absolute/path or ID:SOURCE/stream")]
    Address,
    /// A path where a whole snapshot is meant.
    #[error("a whole snapshot is meant here: leave out what follows the colon")]
    Whole,
}

impl FromStr for SnapshotRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') {
            return Err(ReferenceError::Whole);
        }
        if let Some(rest) = text.strip_prefix("latest") {
            let back = match rest.strip_prefix('~') {
                None if rest.is_empty() => 0,
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse().map_err(|_| ReferenceError::Snapshot)?
                }
                _ => return Err(ReferenceError::Snapshot),
            };
            return Ok(Self::Latest { back });
        }
        let is_id = (1..=2 * SnapshotId::LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            Ok(Self::Id(text.to_ascii_lowercase()))
        } else {
            Err(ReferenceError::Snapshot)
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (snapshot, address) = match text.split_once(':') {
            Some((snapshot, address)) => (snapshot, Some(address)),
            None => (text, None),
        };
        Ok(Self {
            snapshot: snapshot.parse()?,
            address: address.map(str::parse).transpose()?,
        })
    }
}

impl FromStr for Address {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A folder may be named as shells complete it, with a slash at its end.
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        if text.starts_with('/') {
            let path = RepoPath::parse(trimmed).map_err(|_| ReferenceError::Address)?;
            return Ok(Self::File(path));
        }
        let (source, path) = trimmed.split_once('/').unwrap_or((trimmed, ""));
        // `RepoPath` would drop the slash.
        if path.starts_with('/') {
            return Err(ReferenceError::Address);
        }
        Ok(Self::InSource {
            source: source.parse().map_err(|_| ReferenceError::Address)?,
            path: RepoPath::parse(path).map_err(|_| ReferenceError::Address)?,
        })
    }
}

impl fmt::Display for SnapshotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { back: 0 } => f.write_str("latest"),
            Self::Latest { back } => write!(f, "latest~{back}"),
            Self::Id(prefix) => f.write_str(prefix),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{}:{address}", self.snapshot),
            None => self.snapshot.fmt(f),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "/{path}"),
            Self::InSource { source, path } if path.is_root() => source.fmt(f),
            Self::InSource { source, path } => write!(f, "{source}/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_print_as_they_are_written() {
        for text in [
            "latest",
            "latest~2",
            "3fc2a9",
            "0123456789abcdef0123456789abcdef",
            "latest:/etc/app",
            "latest~1:pg-app",
            "3f:pg-app/public.users/rows",
            "latest:/",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        assert_eq!(
            "3FC2:/etc/".parse::<Reference>().unwrap().to_string(),
            "3fc2:/etc"
        );
        assert_eq!("latest~0".parse(), Ok(SnapshotRef::Latest { back: 0 }));
    }

    #[test]
    fn what_names_no_snapshot_is_refused() {
        for text in [
            "",
            "latest~",
            "latest~x",
            "latest~99999999999",
            "newest",
            "xyz",
            "0123456789abcdef0123456789abcdef0",
        ] {
            assert_eq!(
                text.parse::<Reference>(),
                Err(ReferenceError::Snapshot),
                "{text}"
            );
        }
        for text in ["latest:", "latest:/a/../b", "latest:a//b", "latest:Upper/x"] {
            assert_eq!(
                text.parse::<Reference>(),
                Err(ReferenceError::Address),
                "{text}"
            );
        }
        assert_eq!(
            "latest:/etc".parse::<SnapshotRef>(),
            Err(ReferenceError::Whole)
        );
    }
}
