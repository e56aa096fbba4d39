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
                self.folder(root, limits::FOLDER_DEPTH_MAX, visit)?;
            }
        }
        Ok(())
    }

    /// Visits a folder, its parts first and then the folders in it: no stack holds more than a frame for each folder on the
    /// way down and one for each level of what the last one is split into.
    fn folder(
        &mut self,
        root: ChunkId,
        depth_left: usize,
        visit: &mut dyn FnMut(Reached) -> Result<()>,
    ) -> Result<()> {
        if self.seen.contains(&root) {
            return Ok(());
        }
        let too_deep = || too_deep(root, "folders are nested too deep");
        let depth = depth_left.checked_sub(1).ok_or_else(too_deep)?;
        let mut below = Vec::new();
        self.node(root, limits::NODE_LEVELS, &mut below, visit)?;
        below
            .into_iter()
            .try_for_each(|root| self.folder(root, depth, visit))
    }

    /// Visits a node and what it is split into; notes the folders in it.
    fn node(
        &mut self,
        id: ChunkId,
        levels_left: u8,
        folders: &mut Vec<ChunkId>,
        visit: &mut dyn FnMut(Reached) -> Result<()>,
    ) -> Result<()> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        self.cancel.check()?;
        visit(Reached::Node(id))?;
        let too_deep = || too_deep(id, "nodes are nested too deep");
        let levels = levels_left.checked_sub(1).ok_or_else(too_deep)?;
        match self.store.read_node(id)? {
            Node::FolderIndex { children, .. } => children
                .into_iter()
                .try_for_each(|child| self.node(child, levels, folders, visit)),
            Node::List { level: 0, entries } => entries.into_iter().try_for_each(|entry| {
                self.chunk(
                    entry.id,
                    u32::try_from(entry.len).unwrap_or(u32::MAX),
                    visit,
                )
            }),
            Node::List { entries, .. } => entries
                .into_iter()
                .try_for_each(|entry| self.node(entry.id, levels, folders, visit)),
            Node::Folder(entries) => entries.into_iter().try_for_each(|entry| match entry.body {
                Body::Dir(root) => {
                    folders.push(root);
                    Ok(())
                }
                Body::File(content) => match content.chunks {
                    ChunkList::Inline(chunks) => chunks
                        .into_iter()
                        .try_for_each(|(id, len)| self.chunk(id, len, visit)),
                    ChunkList::Node(root) => self.node(root, limits::NODE_LEVELS, folders, visit),
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

fn too_deep(id: ChunkId, problem: &'static str) -> Error {
    Error::corrupt(format!("node {id}"))(FormatError::new("node", problem))
}
