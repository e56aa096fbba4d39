//! Trees: what a capture contains. Folders of entries, and lists of chunks, both as nodes that are shared between
//! snapshots because equal content gives equal nodes.
//!
//! A node is named by the keyed hash of its bytes and kept like a chunk. Where a node ends is decided by the content of
//! its last child, so that a change touches few nodes. `repo-format.md` § Nodes; the bytes are made only by `format.rs`.

pub mod diff;
pub mod format;
mod split;

pub use split::{NodeSink, write_folder, write_list};

use crate::id::ChunkId;
use crate::path::RepoPath;
use crate::source::{ItemInfo, Meta, NodeKind, Profile, StreamFacts};

/// One child of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name, one component.
    pub name: Vec<u8>,
    /// What it is and what it holds.
    pub body: Body,
    /// File system facts.
    pub meta: Meta,
    /// Counts, digest, attributes.
    pub facts: StreamFacts,
}

/// What an entry is. A link has no content and a file has no target, by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A folder and its root node.
    Dir(ChunkId),
    /// Content.
    File(Content),
    /// Anything without content and without children.
    Other(NodeKind),
}

/// The content of a file or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// How it was cut.
    pub profile: Profile,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Its chunks.
    pub chunks: ChunkList,
}

/// The chunks of one content, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkList {
    /// A few chunks and their lengths.
    Inline(Vec<(ChunkId, u32)>),
    /// The root node of a list.
    Node(ChunkId),
}

/// One chunk in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The chunk, or the node below.
    pub id: ChunkId,
    /// Bytes of content in it.
    pub len: u64,
    /// First and last key of its records, cut to 256 bytes; none for streams without keys.
    pub keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// A decoded node.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A list of chunks (level 0) or of list nodes.
    List {
        /// Height above the chunks.
        level: u8,
        /// Children in order.
        entries: Vec<ListEntry>,
    },
    /// Entries of a folder.
    Folder(Vec<Entry>),
    /// Nodes that together are one large folder.
    FolderIndex {
        /// Height above the leaves.
        level: u8,
        /// Child nodes in order of their names.
        children: Vec<ChunkId>,
    },
}

impl Entry {
    /// The entry as a source or a person sees it, at its full path.
    pub fn info(&self, path: RepoPath) -> ItemInfo {
        let (kind, profile, size_bytes) = match &self.body {
            Body::Dir(_) => (NodeKind::Dir, Profile::Bytes, 0),
            Body::File(content) => (NodeKind::File, content.profile, content.size_bytes),
            Body::Other(kind) => (kind.clone(), Profile::Bytes, 0),
        };
        let (meta, facts) = (self.meta.clone(), self.facts.clone());
        ItemInfo {
            path,
            kind,
            meta,
            profile,
            size_bytes,
            facts,
        }
    }

    /// Its content, if it has any.
    pub fn content(&self) -> Option<&Content> {
        match &self.body {
            Body::File(content) => Some(content),
            Body::Dir(_) | Body::Other(_) => None,
        }
    }
}
