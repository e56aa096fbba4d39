//! Names of objects: the layout of a repository's folder, in one place (`repo-format.md` § Layout).
//!
//! Every name has exactly one spelling; what is not spelt so is foreign and left alone.

use std::fmt;
use std::str::FromStr;

use crate::id::{ObjectId, SessionId};
use crate::limits;

/// What an object is for. Each kind lies in a folder of its own, except the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// The repository's config and its copy.
    Config,
    /// Key slots, each stored twice.
    Key,
    /// Session records.
    Session,
    /// Packs.
    Pack,
    /// Index segments.
    Index,
    /// Outcomes of sessions: a snapshot, or aborted.
    End,
    /// Marks of forgotten snapshots.
    Forgotten,
    /// Lists of condemned packs.
    Tombstone,
    /// Lists of settled sessions.
    Settled,
}

impl ObjectKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Config,
        Self::Key,
        Self::Session,
        Self::Pack,
        Self::Index,
        Self::End,
        Self::Forgotten,
        Self::Tombstone,
        Self::Settled,
    ];

    /// The folder that holds all objects of the kind; `None` for the config, which lies at the top.
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Self::Config => None,
            Self::Key => Some("keys"),
            Self::Session => Some("sessions"),
            Self::Pack => Some("packs"),
            Self::Index => Some("index"),
            Self::End => Some("end"),
            Self::Forgotten => Some("forgotten"),
            Self::Tombstone => Some("gc"),
            Self::Settled => Some("settled"),
        }
    }

    /// Largest object of the kind, in bytes: a larger one is not read at all.
    pub fn size_bytes_max(self) -> u64 {
        match self {
            Self::Config | Self::Key => limits::CONFIG_BYTES_MAX as u64,
            Self::Pack => limits::PACK_BYTES_MAX,
            Self::Index => limits::BOX_RAW_BYTES_MAX as u64 + limits::SEAL_BYTES_MAX,
            Self::Session | Self::End | Self::Forgotten | Self::Tombstone | Self::Settled => {
                limits::SMALL_RECORD_BYTES_MAX as u64 + limits::SEAL_BYTES_MAX
            }
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder().unwrap_or("config"))
    }
}

/// The name of one object: its kind and what tells it from others of the kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// `config` or `config.copy`.
    Config {
        /// Whether it is the copy.
        copy: bool,
    },
    /// `keys/<id>.1` or `keys/<id>.2`.
    Key {
        /// The slot.
        slot: ObjectId,
        /// Whether it is the copy.
        copy: bool,
    },
    /// `sessions/<session>`.
    Session(SessionId),
    /// `packs/<first two digits of the random half>/<pack>`.
    Pack(PackName),
    /// `index/<id>`.
    Index(ObjectId),
    /// `end/<session>`.
    End(SessionId),
    /// `forgotten/<session>`.
    Forgotten(SessionId),
    /// `gc/<id>`.
    Tombstone(ObjectId),
    /// `settled/<id>`.
    Settled(ObjectId),
}

impl ObjectKey {
    /// The repository's config, or its copy.
    pub fn config(copy: bool) -> Self {
        Self::Config { copy }
    }

    /// A key slot, or its copy.
    pub fn key(slot: ObjectId, copy: bool) -> Self {
        Self::Key { slot, copy }
    }

    /// The record of a session.
    pub fn session(id: SessionId) -> Self {
        Self::Session(id)
    }

    /// A pack.
    pub fn pack(name: PackName) -> Self {
        Self::Pack(name)
    }

    /// An index segment.
    pub fn index(id: ObjectId) -> Self {
        Self::Index(id)
    }

    /// The outcome of a session.
    pub fn end(id: SessionId) -> Self {
        Self::End(id)
    }

    /// The mark of a forgotten snapshot.
    pub fn forgotten(id: SessionId) -> Self {
        Self::Forgotten(id)
    }

    /// A list of condemned packs.
    pub fn tombstone(id: ObjectId) -> Self {
        Self::Tombstone(id)
    }

    /// A list of settled sessions.
    pub fn settled(id: ObjectId) -> Self {
        Self::Settled(id)
    }

    /// What the object is for.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Config { .. } => ObjectKind::Config,
            Self::Key { .. } => ObjectKind::Key,
            Self::Session(_) => ObjectKind::Session,
            Self::Pack(_) => ObjectKind::Pack,
            Self::Index(_) => ObjectKind::Index,
            Self::End(_) => ObjectKind::End,
            Self::Forgotten(_) => ObjectKind::Forgotten,
            Self::Tombstone(_) => ObjectKind::Tombstone,
            Self::Settled(_) => ObjectKind::Settled,
        }
    }

    /// Where the object lies below the repository's root; parts are joined by `/`.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path below the repository's root; `None` if no object of ours is spelt so.
    pub fn parse(path: &str) -> Option<Self> {
        let key = match path.split_once('/') {
            None => match path {
                "config" => Self::config(false),
                "config.copy" => Self::config(true),
                _ => return None,
            },
            Some(("keys", name)) => {
                let (slot, number) = name.split_once('.')?;
                Self::key(slot.parse().ok()?, number == "2")
            }
            Some(("sessions", name)) => Self::session(name.parse().ok()?),
            Some(("packs", name)) => Self::pack(name.split_once('/')?.1.parse().ok()?),
            Some(("index", name)) => Self::index(name.parse().ok()?),
            Some(("end", name)) => Self::end(name.parse().ok()?),
            Some(("forgotten", name)) => Self::forgotten(name.parse().ok()?),
            Some(("gc", name)) => Self::tombstone(name.parse().ok()?),
            Some(("settled", name)) => Self::settled(name.parse().ok()?),
            Some(_) => return None,
        };
        // Capitals, a wrong folder of a pack, a third copy: a second spelling is no spelling.
        (key.path() == path).then_some(key)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.kind();
        match self {
            Self::Config { copy: false } => f.write_str("config"),
            Self::Config { copy: true } => f.write_str("config.copy"),
            Self::Key { slot, copy } => write!(f, "{folder}/{slot}.{}", 1 + u8::from(*copy)),
            Self::Session(id) | Self::End(id) | Self::Forgotten(id) => write!(f, "{folder}/{id}"),
            Self::Pack(name) => write!(f, "{folder}/{:02x}/{name}", name.random.as_bytes()[0]),
            Self::Index(id) | Self::Tombstone(id) | Self::Settled(id) => write!(f, "{folder}/{id}"),
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackClass {
    /// Segments of streams.
    Data,
    /// Segments of trees, lists and the like, which a listing needs.
    Meta,
}

/// The name of a pack: whose session wrote it, and a random half that is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// The session that wrote it.
    pub session: SessionId,
    /// The random half.
    pub random: ObjectId,
    /// What it holds.
    pub class: PackClass,
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            PackClass::Data => 'd',
            PackClass::Meta => 'm',
        };
        write!(f, "{}.{}-{class}", self.session, self.random)
    }
}

impl fmt::Debug for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not the name of a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a pack")]
pub struct ParsePackNameError;

impl FromStr for PackName {
    type Err = ParsePackNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (session, rest) = text.split_once('.')?;
            let (random, class) = rest.split_once('-')?;
            let class = match class {
                "d" => PackClass::Data,
                "m" => PackClass::Meta,
                _ => return None,
            };
            let name = Self {
                session: session.parse().ok()?,
                random: random.parse().ok()?,
                class,
            };
            (name.to_string() == text).then_some(name)
        };
        parse().ok_or(ParsePackNameError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<(ObjectKey, String)> {
        let session = SessionId::from_bytes([0x11; 16]);
        let id = ObjectId::from_bytes([0xab; 16]);
        let (s, i) = ("11".repeat(16), "ab".repeat(16));
        let pack = |class| PackName {
            session,
            random: id,
            class,
        };
        vec![
            (ObjectKey::config(false), "config".into()),
            (ObjectKey::config(true), "config.copy".into()),
            (ObjectKey::key(id, false), format!("keys/{i}.1")),
            (ObjectKey::key(id, true), format!("keys/{i}.2")),
            (ObjectKey::session(session), format!("sessions/{s}")),
            (
                ObjectKey::pack(pack(PackClass::Data)),
                format!("packs/ab/{s}.{i}-d"),
            ),
            (
                ObjectKey::pack(pack(PackClass::Meta)),
                format!("packs/ab/{s}.{i}-m"),
            ),
            (ObjectKey::index(id), format!("index/{i}")),
            (ObjectKey::end(session), format!("end/{s}")),
            (ObjectKey::forgotten(session), format!("forgotten/{s}")),
            (ObjectKey::tombstone(id), format!("gc/{i}")),
            (ObjectKey::settled(id), format!("settled/{i}")),
        ]
    }

    #[test]
    fn keys_print_and_parse_as_paths() {
        for (key, path) in examples() {
            assert_eq!(key.path(), path);
            assert_eq!(ObjectKey::parse(&path), Some(key));
            if let Some(folder) = key.kind().folder() {
                assert!(path.starts_with(&format!("{folder}/")));
            }
        }
    }

    #[test]
    fn every_kind_has_a_key() {
        let kinds: std::collections::BTreeSet<_> =
            examples().iter().map(|(key, _)| key.kind()).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ObjectKind::ALL);
    }

    #[test]
    fn another_spelling_is_foreign() {
        let i = "ab".repeat(16);
        let s = "11".repeat(16);
        for path in [
            String::new(),
            "Config".into(),
            "config/".into(),
            "/config".into(),
            "tmp/0123".into(),
            format!("keys/{i}"),
            format!("keys/{i}.3"),
            format!("keys/{i}.02"),
            format!("index/{}", "AB".repeat(16)),
            format!("index/+b{}", "ab".repeat(15)),
            format!("index/{i}/"),
            format!("index/{i}.tmp"),
            format!("packs/ab/{s}.{i}-x"),
            format!("packs/aa/{s}.{i}-d"),
            format!("packs/{s}.{i}-d"),
            format!("packs/ab/{s}.{i}"),
            format!("snapshots/{s}"),
        ] {
            assert_eq!(ObjectKey::parse(&path), None, "{path}");
        }
    }
}
