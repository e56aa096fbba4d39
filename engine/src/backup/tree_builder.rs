//! The tree of a capture in the making: folders that the walk has left are kept as nodes at once, so that memory holds
//! only the open ones.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits::FOLDER_DEPTH_MAX;
use crate::path::RepoPath;
use crate::source::{Attributes, Meta, StreamFacts};
use crate::tree::{Body, Entry, NodeSink, write_folder};

/// A folder that may still get entries.
#[derive(Debug, Default)]
struct Folder {
    /// What the source said of it; none for folders that only lie on the way to a stream.
    said: Option<(Meta, Attributes)>,
    children: BTreeMap<Vec<u8>, Child>,
}

#[derive(Debug)]
enum Child {
    Done(Entry),
    Open(Folder),
}

/// Gathers entries in the order of a capture.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    root: Folder,
    last: RepoPath,
}

impl TreeBuilder {
    /// Adds a folder.
    pub(super) fn add_folder(
        &mut self,
        path: &RepoPath,
        meta: Meta,
        attributes: Attributes,
        nodes: &mut dyn NodeSink,
    ) -> Result<()> {
        // A folder is a level of its own, even an empty one.
        if path.components().count() >= FOLDER_DEPTH_MAX {
            return Err(too_deep(path));
        }
        self.leave_for(path, nodes)?;
        let (parent, name) = self.parent_of(path)?;
        let child = parent
            .children
            .entry(name)
            .or_insert_with(|| Child::Open(Folder::default()));
        match child {
            Child::Open(folder) if folder.said.is_none() => folder.said = Some((meta, attributes)),
            _ => return Err(twice(path)),
        }
        Ok(())
    }

    /// Adds anything else.
    pub(super) fn add(
        &mut self,
        path: &RepoPath,
        entry: Entry,
        nodes: &mut dyn NodeSink,
    ) -> Result<()> {
        self.leave_for(path, nodes)?;
        let (parent, name) = self.parent_of(path)?;
        if parent.children.insert(name, Child::Done(entry)).is_some() {
            return Err(twice(path));
        }
        Ok(())
    }

    /// Keeps what is open; answers the root node.
    pub(super) fn finish(self, nodes: &mut dyn NodeSink) -> Result<ChunkId> {
        close(self.root, nodes)
    }

    /// Folders that the source had named and that the walk has left are closed.
    fn leave_for(&mut self, path: &RepoPath, nodes: &mut dyn NodeSink) -> Result<()> {
        if path.is_root() {
            return Err(Error::Refused {
                what: "the root of a capture is no item".into(),
            });
        }
        if path.components().count() > FOLDER_DEPTH_MAX {
            return Err(too_deep(path));
        }
        let mut left = self.last.parent().unwrap_or_default();
        let mut close_at = None;
        while !left.is_root() && !path.starts_with(&left) {
            if self
                .folder_mut(&left)
                .is_some_and(|folder| folder.said.is_some())
            {
                close_at = Some(left.clone());
            }
            left = left.parent().unwrap_or_default();
        }
        // An empty folder has no item behind it: it is the last path itself.
        if close_at.is_none() && !path.starts_with(&self.last) {
            close_at = Some(self.last.clone());
        }
        if let Some(path) = close_at {
            self.close_folder(&path, nodes)?;
        }
        self.last = path.clone();
        Ok(())
    }

    fn close_folder(&mut self, path: &RepoPath, nodes: &mut dyn NodeSink) -> Result<()> {
        let Ok((parent, name)) = self.parent_of(path) else {
            return Ok(());
        };
        let Some(Child::Open(folder)) = parent.children.get_mut(&name) else {
            return Ok(());
        };
        if folder.said.is_none() {
            return Ok(());
        }
        let (meta, attributes) = folder.said.clone().unwrap_or_default();
        let root = close(std::mem::take(folder), nodes)?;
        parent.children.insert(
            name.clone(),
            Child::Done(folder_entry(name, root, meta, attributes)),
        );
        Ok(())
    }

    fn folder_mut(&mut self, path: &RepoPath) -> Option<&mut Folder> {
        let mut folder = &mut self.root;
        for component in path.components() {
            match folder.children.get_mut(component)? {
                Child::Open(below) => folder = below,
                Child::Done(_) => return None,
            }
        }
        Some(folder)
    }

    /// The open folder above a path, made on the way if the source never names it.
    fn parent_of(&mut self, path: &RepoPath) -> Result<(&mut Folder, Vec<u8>)> {
        let name = path.name().unwrap_or_default().to_vec();
        let mut folder = &mut self.root;
        for component in path.parent().unwrap_or_default().components() {
            let child = folder
                .children
                .entry(component.to_vec())
                .or_insert_with(|| Child::Open(Folder::default()));
            match child {
                Child::Open(below) => folder = below,
                Child::Done(_) => {
                    let what =
                        format!("{path} came after its folder was left or lies below a file");
                    return Err(Error::Refused { what });
                }
            }
        }
        Ok((folder, name))
    }
}

fn close(folder: Folder, nodes: &mut dyn NodeSink) -> Result<ChunkId> {
    let mut entries = Vec::with_capacity(folder.children.len());
    for (name, child) in folder.children {
        entries.push(match child {
            Child::Done(entry) => entry,
            Child::Open(below) => {
                let (meta, attributes) = below.said.clone().unwrap_or_default();
                let root = close(below, nodes)?;
                folder_entry(name, root, meta, attributes)
            }
        });
    }
    write_folder(&entries, nodes)
}

fn folder_entry(name: Vec<u8>, root: ChunkId, meta: Meta, attributes: Attributes) -> Entry {
    let facts = StreamFacts {
        attributes,
        ..StreamFacts::default()
    };
    Entry {
        name,
        body: Body::Dir(root),
        meta,
        facts,
    }
}

fn twice(path: &RepoPath) -> Error {
    Error::Refused {
        what: format!("{path} was captured twice"),
    }
}

fn too_deep(path: &RepoPath) -> Error {
    Error::Refused {
        what: format!("{path} lies too deep: {FOLDER_DEPTH_MAX} levels are the most"),
    }
}
