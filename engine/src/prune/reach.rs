//! What live snapshots stand on: every node and every chunk, each visited once.

use std::collections::HashSet;

use crate::backup::Cancel;
use crate::codec::FormatError;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits;
use crate::repo::Store;
use crate::snapshot::Snapshot;
use crate::tree::{Body, ChunkList, Node};

/// One thing that a snapshot stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reached {
    /// A node of a list or tree, or the details of a source.
    Node(ChunkId),
    /// A piece of content and its length in bytes.
    Chunk(ChunkId, u32),
}

impl Reached {
    /// Its name.
    pub fn id(self) -> ChunkId {
        match self {
            Self::Node(id) | Self::Chunk(id, _) => id,
        }
    }
}

/// Walks snapshots; remembers what was visited from one to the next.
#[derive(Debug)]
pub struct Reach<'a> {
    store: &'a Store,
    cancel: &'a Cancel,
    seen: HashSet<ChunkId>,
}

impl<'a> Reach<'a> {
    /// Starts with nothing visited.
    pub fn new(store: &'a Store, cancel: &'a Cancel) -> Self {
        Self {
            store,
            cancel,
            seen: HashSet::new(),
        }
    }

    /// Visits everything of a snapshot that was not visited before. A node is visited before it is read.
    pub fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        visit: &mut dyn FnMut(Reached) -> Result<()>,
    ) -> Result<()> {
        for source in &snapshot.sources {
            if let Some(details) = source.details.filter(|id| self.seen.insert(*id)) {
                visit(Reached::Node(details))?;
            }
            if let Some(root) = source.root {
                self.node(root, limits::NODE_DEPTH_MAX, visit)?;
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        id: ChunkId,
        depth: usize,
        visit: &mut dyn FnMut(Reached) -> Result<()>,
    ) -> Result<()> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        self.cancel.check()?;
        visit(Reached::Node(id))?;
        let depth = depth.checked_sub(1).ok_or_else(|| {
            let problem = FormatError::new("node", "nodes are nested too deep");
            Error::corrupt(format!("node {id}"))(problem)
        })?;
        match self.store.read_node(id)? {
            Node::FolderIndex { children, .. } => children
                .into_iter()
                .try_for_each(|child| self.node(child, depth, visit)),
            Node::List { level: 0, entries } => entries.into_iter().try_for_each(|entry| {
                self.chunk(
                    entry.id,
                    u32::try_from(entry.len).unwrap_or(u32::MAX),
                    visit,
                )
            }),
            Node::List { entries, .. } => entries
                .into_iter()
                .try_for_each(|entry| self.node(entry.id, depth, visit)),
            Node::Folder(entries) => entries.into_iter().try_for_each(|entry| match entry.body {
                Body::Dir(root) => self.node(root, depth, visit),
                Body::File(content) => match content.chunks {
                    ChunkList::Inline(chunks) => chunks
                        .into_iter()
                        .try_for_each(|(id, len)| self.chunk(id, len, visit)),
                    ChunkList::Node(root) => self.node(root, depth, visit),
                },
                Body::Other(_) => Ok(()),
            }),
        }
    }

    fn chunk(
        &mut self,
        id: ChunkId,
        len: u32,
        visit: &mut dyn FnMut(Reached) -> Result<()>,
    ) -> Result<()> {
        if self.seen.insert(id) {
            visit(Reached::Chunk(id, len))
        } else {
            Ok(())
        }
    }
}
