//! Snapshots: everything that each stands on is there, decodes, and adds up. What is damaged is counted against every
//! snapshot that stands on it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::blast::{self, Blast, Hits};
use super::packs::Packs;
use super::{CheckReport, content, damage};
use crate::backend::PackName;
use crate::backup::Cancel;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits;
use crate::path::RepoPath;
use crate::progress::{Event, Observer};
use crate::repo::{Repo, Store, Usable};
use crate::snapshot::select::Listed;
use crate::tree::{Body, ChunkList, Entry, Node};

/// Stack of the walk, in bytes: some thousand frames at the most, of a few KiB.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Checks every live snapshot. With `readers`, every chunk is made and compared with its name, by so many threads.
pub(super) fn check(
    repo: &Repo,
    readers: usize,
    packs: &Packs,
    report: &mut CheckReport,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<()> {
    let store = Store::load(
        repo,
        &Usable::Except(std::collections::BTreeSet::new()),
        true,
    )?;
    // The records have been looked at before; where all of them are lost, that was found then.
    let readable = Error::unless_damaged(repo.readable_snapshots())?.unwrap_or_default();
    // One that could be read then and cannot now is not passed over.
    let unread = readable.damaged.into_iter().map(|record| record.why);
    if let Some(why) = unread.into_iter().find(Error::is_unreadable) {
        return Err(why);
    }
    let snapshots = readable.snapshots;
    let read = readers > 0;
    let made = if read {
        content::verify(&store, &snapshots, readers, observer, cancel)?
    } else {
        HashMap::new()
    };
    observer.event(Event::Total {
        bytes: 0,
        items: snapshots.len() as u64,
    });
    let mut walk = Walk {
        store,
        read,
        made,
        packs,
        cancel,
        good: HashSet::new(),
        folders: HashSet::new(),
        bad: HashMap::new(),
        hits: BTreeMap::new(),
        told: HashSet::new(),
        stood_on: BTreeSet::new(),
    };
    on_a_deep_stack(|| {
        snapshots.iter().try_for_each(|listed| {
            walk.snapshot(listed)?;
            report.snapshots += 1;
            observer.event(Event::ItemFinished);
            Ok(())
        })
    })?;
    report.chunks = (walk.good.len() + walk.bad.len()) as u64;
    let Walk {
        store,
        bad,
        mut hits,
        stood_on,
        ..
    } = walk;
    if !hits.is_empty() {
        leave_out_forgotten(repo, &mut hits)?;
    }
    blast::tell(
        &store,
        packs,
        &Blast {
            bad,
            hits,
            order: snapshots.iter().map(|at| at.id.to_string()).collect(),
            stood_on,
        },
        report,
    );
    Ok(())
}

/// Runs a walk that has a frame for each folder on the way down, and for each level of what they are split into.
fn on_a_deep_stack(walk: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let walking = thread.spawn_scoped(scope, walk).map_err(|error| {
            let what = format!("cannot start a thread to check with: {error}");
            Error::Refused { what }
        })?;
        match walking.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// What is forgotten while it is looked at may be swept, and is not damaged for that.
fn leave_out_forgotten(repo: &Repo, hits: &mut Hits) -> Result<()> {
    let Some(forgotten) = Error::unless_damaged(repo.forgotten())? else {
        return Ok(());
    };
    let forgotten: HashSet<_> = forgotten.iter().map(ToString::to_string).collect();
    hits.retain(|_, hit| {
        hit.retain(|(snapshot, _)| !forgotten.contains(snapshot));
        !hit.is_empty()
    });
    Ok(())
}

struct Walk<'a> {
    store: Store,
    read: bool,
    /// Chunks that were made and are as they should be, with their lengths.
    made: HashMap<ChunkId, u32>,
    packs: &'a Packs,
    cancel: &'a Cancel,
    good: HashSet<ChunkId>,
    /// Roots of folders whose nodes fit together.
    folders: HashSet<ChunkId>,
    bad: HashMap<ChunkId, String>,
    hits: Hits,
    /// Nodes with damage below them that count against the snapshot at hand already.
    told: HashSet<ChunkId>,
    /// Damaged packs that something live lies in.
    stood_on: BTreeSet<PackName>,
}

/// Where the walk stands, for people.
struct At<'a> {
    snapshot: &'a str,
    path: RepoPath,
    source: &'a str,
}

impl Walk<'_> {
    fn snapshot(&mut self, listed: &Listed) -> Result<()> {
        let name = listed.id.to_string();
        self.told.clear();
        for source in &listed.snapshot.sources {
            let at = At {
                snapshot: &name,
                path: RepoPath::root(),
                source: &source.name,
            };
            if let Some(details) = source.details {
                self.leaf(details, None, &at)?;
            }
            if let Some(root) = source.root {
                self.folder(root, &at)?;
            }
        }
        Ok(())
    }

    /// Whether a folder is good: its nodes, what is below them, and all of it together.
    fn folder(&mut self, root: ChunkId, at: &At<'_>) -> Result<bool> {
        if at.path.components().count() >= limits::FOLDER_DEPTH_MAX {
            self.hit(root, "folders are nested too deep".into(), at);
            return Ok(false);
        }
        if !self.node(root, at, limits::NODE_LEVELS)? {
            return Ok(false);
        }
        if !self.folders.contains(&root) {
            if let Err(error) = self.store.folder(root) {
                let what = damage(error)?;
                self.hit(root, what, at);
                return Ok(false);
            }
            self.folders.insert(root);
        }
        Ok(true)
    }

    /// Whether everything below is good. Good nodes are looked at once; bad ones count against each snapshot.
    fn node(&mut self, id: ChunkId, at: &At<'_>, levels_left: u8) -> Result<bool> {
        if self.good.contains(&id) {
            return Ok(true);
        }
        if !self.told.insert(id) {
            return Ok(false);
        }
        self.cancel.check()?;
        self.is_suspect(id);
        let node = match self.store.read_node(id) {
            Ok(node) if levels_left > 0 => node,
            Ok(_) => {
                self.hit(id, "nodes are nested too deep".into(), at);
                return Ok(false);
            }
            Err(error) => {
                let what = damage(error)?;
                self.hit(id, what, at);
                return Ok(false);
            }
        };
        let mut good = true;
        match node {
            Node::FolderIndex { children, .. } => {
                for child in children {
                    good &= self.node(child, at, levels_left - 1)?;
                }
            }
            Node::List { level, entries } => {
                for entry in entries {
                    good &= if level == 0 {
                        self.leaf(
                            entry.id,
                            Some(u32::try_from(entry.len).unwrap_or(u32::MAX)),
                            at,
                        )?
                    } else {
                        self.node(entry.id, at, levels_left - 1)?
                    };
                }
            }
            Node::Folder(entries) => {
                for entry in entries {
                    good &= self.entry(&entry, id, at)?;
                }
            }
        }
        if good {
            self.good.insert(id);
        }
        Ok(good)
    }

    fn entry(&mut self, entry: &Entry, folder: ChunkId, at: &At<'_>) -> Result<bool> {
        let Ok(path) = at.path.join(&entry.name) else {
            self.hit(folder, "holds a name that is no name".into(), at);
            return Ok(false);
        };
        let below = At { path, ..*at };
        match &entry.body {
            Body::Dir(root) => self.folder(*root, &below),
            Body::Other(_) => Ok(true),
            Body::File(content) => match &content.chunks {
                ChunkList::Inline(chunks) => {
                    let mut good = true;
                    for (id, len) in chunks {
                        good &= self.leaf(*id, Some(*len), &below)?;
                    }
                    Ok(good)
                }
                ChunkList::Node(root) => {
                    let good = self.node(*root, &below, limits::NODE_LEVELS)?;
                    if good && let Err(error) = self.store.chunks(content) {
                        let what = damage(error)?;
                        self.hit(*root, what, &below);
                        return Ok(false);
                    }
                    Ok(good)
                }
            },
        }
    }

    /// A chunk (with its length), or details (without).
    fn leaf(&mut self, id: ChunkId, len: Option<u32>, at: &At<'_>) -> Result<bool> {
        if self.good.contains(&id) {
            return Ok(true);
        }
        let checked = if self.bad.contains_key(&id) {
            Ok(())
        } else {
            self.check_leaf(id, len)
        };
        match checked {
            Ok(()) if !self.bad.contains_key(&id) => {
                self.good.insert(id);
                Ok(true)
            }
            Ok(()) => {
                self.hit(id, String::new(), at);
                Ok(false)
            }
            Err(error) => {
                let what = damage(error)?;
                self.hit(id, what, at);
                Ok(false)
            }
        }
    }

    /// Whether something lies in a damaged pack, so that only reading it tells whether it is hit.
    fn is_suspect(&mut self, id: ChunkId) -> bool {
        let packs = blast::damage_under(&self.store, self.packs, id);
        let suspect = !packs.is_empty();
        self.stood_on.extend(packs);
        suspect
    }

    fn check_leaf(&mut self, id: ChunkId, len: Option<u32>) -> Result<()> {
        let Some(len) = len else {
            return self.store.read_node_bytes(id).map(drop);
        };
        let suspect = self.is_suspect(id);
        if self.made.get(&id) == Some(&len) {
            return Ok(());
        }
        if suspect || self.read {
            let mut bytes = Vec::new();
            return self.store.read_chunk(id, len, &mut bytes);
        }
        self.store.check_chunk(id, len)
    }

    fn hit(&mut self, id: ChunkId, what: String, at: &At<'_>) {
        self.bad.entry(id).or_insert(what);
        let hits = self.hits.entry(id).or_default();
        if !hits.iter().any(|(snapshot, _)| snapshot == at.snapshot) {
            hits.push((at.snapshot.into(), format!("{}/{}", at.source, at.path)));
        }
    }
}
