//! An opened repository: backend, keys, and what is read and written by name.

mod choose;
pub mod format;
mod init;
pub mod keys;
mod lru;
mod open;
mod packs;
pub mod pin;
mod placing;
mod read;
mod resolve;
mod small;
mod store;
mod walk;

pub use init::{InitOptions, init};
pub use open::{config_of, open};
pub use packs::{packs_that_exist, read_footer, read_stored_box};
pub use read::{bytes_of, in_groups};
pub use resolve::Span;
pub use small::{Readable, Unreadable};
pub use store::{Store, Usable};
pub use walk::{FolderWalk, Met, find};

pub(crate) use lru::lock;
pub(crate) use small::{is_unanswered, read_listed};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::crypto::RootKey;
use crate::id::RepoId;

/// The version of the repository format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// What must be known before the key: identity, version, features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Version of the repository format.
    pub format: u32,
    /// Identity, random.
    pub id: RepoId,
    /// Features without which the repository must not be touched.
    #[serde(default)]
    pub must_understand: Vec<String>,
    /// Features that a program may ignore.
    #[serde(default)]
    pub may_ignore: Vec<String>,
    /// When it was made: nanoseconds since 1970, UTC.
    pub created_ns: i64,
    /// How streams are cut; there is one value in this version.
    pub chunker: String,
    /// How boxes are sealed; there is one value in this version.
    pub suite: String,
}

/// The one value of `Config::chunker`.
pub const CHUNKER: &str = "fastcdc-2020-l2-32k-128k-512k";
/// The one value of `Config::suite`.
pub const SUITE: &str = "blake3-zstd-chacha20poly1305";

/// An opened repository.
#[derive(Clone)]
pub struct Repo {
    backend: Arc<dyn Backend>,
    config: Arc<Config>,
    root: Arc<RootKey>,
}

impl std::fmt::Debug for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repo({} at {})", self.config.id, self.backend.address())
    }
}

impl Repo {
    /// Where it lies.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Its config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its identity.
    pub fn id(&self) -> RepoId {
        self.config.id
    }

    /// Its root key.
    pub fn root(&self) -> &RootKey {
        &self.root
    }
}
