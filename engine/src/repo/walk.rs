//! Reading trees: folders, lists, one entry by its path. Bounded in depth and checked against the sizes that were recorded.

use std::sync::Arc;

use super::Store;
use crate::codec::FormatError;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits;
use crate::path::RepoPath;
use crate::tree::{Body, ChunkList, Content, Entry, Node};

impl Store {
    /// All entries of a folder, sorted by name.
    pub fn folder(&self, root: ChunkId) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.folder_into(root, None, &mut entries)?;
        Ok(entries)
    }

    /// The same, decoded once for many that look things up in it.
    fn open_folder(&self, root: ChunkId) -> Result<Arc<Vec<Entry>>> {
        self.folders
            .get_or_load(root, || self.folder(root), |entries| entries.len() + 1)
    }

    fn folder_into(&self, id: ChunkId, level: Option<u8>, out: &mut Vec<Entry>) -> Result<()> {
        match self.read_node(id)? {
            Node::Folder(entries) if level.is_none_or(|level| level == 0) => {
                // Looked at leaf by leaf: a node that is named twice must not be gathered for ever.
                let Some(first) = entries.first() else {
                    return level.map_or(Ok(()), |_| Err(damaged(id, "it holds nothing")));
                };
                if out.last().is_some_and(|last| last.name >= first.name) {
                    return Err(damaged(id, "entries of the folder are not sorted"));
                }
                out.extend(entries);
            }
            Node::FolderIndex {
                level: own,
                children,
            } if own > 0 && !children.is_empty() && level.is_none_or(|level| level == own) => {
                for child in children {
                    self.folder_into(child, Some(own - 1), out)?;
                }
            }
            _ => {
                return Err(damaged(
                    id,
                    "it is not the node of a folder that should be there",
                ));
            }
        }
        Ok(())
    }

    /// All chunks of a content, in order, with their lengths.
    pub fn chunks(&self, content: &Content) -> Result<Vec<(ChunkId, u32)>> {
        let mut chunks = Vec::new();
        match &content.chunks {
            ChunkList::Inline(inline) => chunks.extend(inline),
            ChunkList::Node(root) => {
                let list = Place {
                    id: *root,
                    level: None,
                    len: Some(content.size_bytes),
                };
                self.list_into(
                    list,
                    &mut 0,
                    &mut |id, len| chunks.push((id, len)),
                    &mut |_| {},
                )?;
            }
        }
        Ok(chunks)
    }

    /// Visits the chunks and the nodes of a list.
    pub fn visit_list(
        &self,
        root: ChunkId,
        chunk: &mut dyn FnMut(ChunkId, u32),
        node: &mut dyn FnMut(ChunkId),
    ) -> Result<()> {
        let list = Place {
            id: root,
            level: None,
            len: None,
        };
        self.list_into(list, &mut 0, chunk, node)
    }

    /// Each node is checked against what is said of it above, before anything below it is read: so no list is longer than
    /// the content that names it.
    fn list_into(
        &self,
        at: Place,
        count: &mut usize,
        chunk: &mut dyn FnMut(ChunkId, u32),
        node: &mut dyn FnMut(ChunkId),
    ) -> Result<()> {
        let id = at.id;
        node(id);
        let Node::List { level, entries } = self.read_node(id)? else {
            return Err(damaged(id, "it is not the node of a list"));
        };
        if at.level.is_some_and(|said| said != level) {
            return Err(damaged(id, "it stands on the wrong level"));
        }
        if entries.is_empty() || entries.iter().any(|entry| entry.len == 0) {
            return Err(damaged(id, "it names what is empty"));
        }
        let mut lens = entries.iter().map(|entry| entry.len);
        let sum = lens.try_fold(0_u64, u64::checked_add);
        if sum.is_none() || at.len.is_some_and(|said| Some(said) != sum) {
            return Err(damaged(
                id,
                "its chunks do not sum up to the size of the content",
            ));
        }
        if level == 0 {
            *count += entries.len();
            if *count > limits::CONTENT_CHUNKS_MAX {
                return Err(damaged(id, "its content has more chunks than one can have"));
            }
        }
        for entry in entries {
            match level.checked_sub(1) {
                None => chunk(entry.id, u32::try_from(entry.len).unwrap_or(u32::MAX)),
                below => {
                    let below = Place {
                        id: entry.id,
                        level: below,
                        len: Some(entry.len),
                    };
                    self.list_into(below, count, chunk, node)?;
                }
            }
        }
        Ok(())
    }

    /// One entry by its path below a root folder; none if there is none.
    pub fn lookup(&self, root: ChunkId, path: &RepoPath) -> Result<Option<Entry>> {
        let mut folder = root;
        let mut found = None;
        for component in path.components() {
            if let Some(Entry {
                body: Body::Dir(below),
                ..
            }) = &found
            {
                folder = *below;
            } else if found.is_some() {
                return Ok(None);
            }
            match find(&self.open_folder(folder)?, component) {
                Some(entry) => found = Some(entry.clone()),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    /// Visits every entry below a folder with its full path, a folder before what is in it.
    pub fn walk(
        &self,
        root: ChunkId,
        base: &RepoPath,
        visit: &mut dyn FnMut(&RepoPath, &Entry) -> Result<()>,
    ) -> Result<()> {
        self.walk_past_damage(root, base, &mut |met| match met {
            Met::Entry(path, entry) => visit(path, entry),
            Met::Lost(_, error) => Err(error),
        })
    }

    /// Like `walk`, but a folder that cannot be read because it is damaged is told, and the walk goes on behind it.
    pub fn walk_past_damage(
        &self,
        root: ChunkId,
        base: &RepoPath,
        visit: &mut dyn FnMut(Met<'_>) -> Result<()>,
    ) -> Result<()> {
        self.walk_at(root, base, limits::FOLDER_DEPTH_MAX, visit)
    }

    fn walk_at(
        &self,
        root: ChunkId,
        base: &RepoPath,
        depth_left: usize,
        visit: &mut dyn FnMut(Met<'_>) -> Result<()>,
    ) -> Result<()> {
        let too_deep = || damaged(root, "folders are nested too deep");
        let opened = match depth_left.checked_sub(1) {
            Some(depth) => self.folder(root).map(|entries| (depth, entries)),
            None => Err(too_deep()),
        };
        let (depth, entries) = match opened {
            Err(error) if error.is_damage() => return visit(Met::Lost(base, error)),
            opened => opened?,
        };
        for entry in entries {
            let path = base.join(&entry.name);
            let path = path.map_err(|error| damaged(root, &error.to_string()))?;
            visit(Met::Entry(&path, &entry))?;
            if let Body::Dir(below) = entry.body {
                self.walk_at(below, &path, depth, visit)?;
            }
        }
        Ok(())
    }
}

/// What a walk comes to.
#[derive(Debug)]
pub enum Met<'a> {
    /// An entry, with its path.
    Entry(&'a RepoPath, &'a Entry),
    /// What this folder holds, which cannot be read. The folder itself was met before.
    Lost(&'a RepoPath, Error),
}

/// A node of a list, and what is said of it above.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: ChunkId,
    level: Option<u8>,
    len: Option<u64>,
}

/// Looks entries up one after another; keeps the folders of the last path open.
#[derive(Debug)]
pub struct FolderWalk {
    store: Arc<Store>,
    root: ChunkId,
    open: Vec<(RepoPath, Arc<Vec<Entry>>)>,
}

impl FolderWalk {
    /// Starts at a root folder.
    pub fn new(store: Arc<Store>, root: ChunkId) -> Self {
        Self {
            store,
            root,
            open: vec![],
        }
    }

    /// The entries of a folder by its path; none if it is not there or no folder.
    pub fn folder(&mut self, path: &RepoPath) -> Result<Option<Arc<Vec<Entry>>>> {
        while self
            .open
            .last()
            .is_some_and(|(open, _)| !path.starts_with(open))
        {
            self.open.pop();
        }
        if let Some((open, entries)) = self.open.last()
            && open == path
        {
            return Ok(Some(Arc::clone(entries)));
        }
        let root = match path.parent() {
            None => self.root,
            Some(parent) => {
                let Some(entries) = self.folder(&parent)? else {
                    return Ok(None);
                };
                match path.name().and_then(|name| find(&entries, name)) {
                    Some(Entry {
                        body: Body::Dir(root),
                        ..
                    }) => *root,
                    _ => return Ok(None),
                }
            }
        };
        let entries = Arc::new(self.store.folder(root)?);
        self.open.push((path.clone(), Arc::clone(&entries)));
        Ok(Some(entries))
    }
}

/// An entry of a sorted folder by its name.
pub fn find<'a>(entries: &'a [Entry], name: &[u8]) -> Option<&'a Entry> {
    let at = entries
        .binary_search_by(|entry| entry.name.as_slice().cmp(name))
        .ok()?;
    entries.get(at)
}

fn damaged(id: ChunkId, problem: &str) -> Error {
    Error::corrupt(format!("node {id}"))(FormatError::new("node", problem))
}
