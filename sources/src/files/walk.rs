//! The walk: which entries a capture has, in the order of their paths, in batches for the readers.
//!
//! One thread lists folders; what needs a look at each single entry is left to `gather`. Links are never
//! followed: every folder is opened by its name in the folder above.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{self, FileKind, Folder, Listed, Powers, Stat, Xattrs};
use super::excludes::{FolderMark, Rules};
use super::extent::Extent;
use super::stack::FolderStack;

/// Most entries of a batch.
const BATCH_ENTRIES: usize = 64;
/// Most different folders of a batch: each is an open file as long as the batch is on its way.
const BATCH_FOLDERS: usize = 8;

/// Entries to look at, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub entries: Vec<Entry>,
    folders: usize,
}

/// One entry that the walk met.
#[derive(Debug)]
pub(super) struct Entry {
    pub path: RepoPath,
    pub role: Role,
}

/// What the walk knows of an entry.
#[derive(Debug)]
pub(super) enum Role {
    /// Nothing but its name in this folder.
    Named(Arc<Folder>),
    /// It is a folder, which the walk opened.
    Folder(Stat, Xattrs, Extent),
    /// It could not be looked at, for this reason.
    Lost(String),
}

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody takes the batches any more.
    Closed,
    /// A root could not be walked.
    Failed(SourceError),
}

/// A walk over all roots.
pub(super) struct Walk<'a> {
    rules: &'a Rules,
    powers: &'a Powers,
    base: Arc<Folder>,
    send: &'a mut dyn FnMut(Batch) -> Result<(), Stop>,
    batch: Batch,
    passed: BTreeSet<RepoPath>,
    /// The file system of the root that is being walked.
    device: u64,
}

type Frame = std::vec::IntoIter<Listed>;

impl<'a> Walk<'a> {
    /// Prepares a walk whose batches go to `send`.
    pub(super) fn new(
        rules: &'a Rules,
        powers: &'a Powers,
        base: Arc<Folder>,
        send: &'a mut dyn FnMut(Batch) -> Result<(), Stop>,
    ) -> Self {
        Self {
            rules,
            powers,
            base,
            send,
            batch: Batch::default(),
            passed: BTreeSet::new(),
            device: 0,
        }
    }

    /// Walks the roots, which are sorted and of which none holds another.
    pub(super) fn run(mut self, roots: &[RepoPath]) -> Result<(), Stop> {
        for root in roots {
            let failed = |error: io::Error| Stop::Failed(root_failed(&format!("/{root}"), error));
            let folder = self.pass_ancestors(root).map_err(failed)?;
            let Some(name) = root.name() else {
                let listed = self.list_base().map_err(failed)?;
                self.walk_tree(root.clone(), folder, listed)?;
                continue;
            };
            let stat = folder.stat(name).map_err(failed)?;
            self.device = stat.device;
            if stat.kind == FileKind::Dir {
                if let Some((below, names)) = self.enter(&folder, name, root, stat.device)? {
                    self.walk_tree(root.clone(), below, names)?;
                }
            } else {
                self.push(root.clone(), Role::Named(folder))?;
            }
        }
        self.flush()
    }

    /// Emits the folders above a root, once each, and opens the lowest.
    fn pass_ancestors(&mut self, root: &RepoPath) -> io::Result<Arc<Folder>> {
        let mut folder = Arc::clone(&self.base);
        let mut path = RepoPath::root();
        let above = root.parent().unwrap_or_default();
        for name in above.components() {
            path = path.join(name).map_err(io::Error::other)?;
            let below = Arc::new(folder.open_to_pass(name)?);
            if self.passed.insert(path.clone()) {
                let xattrs = client::xattrs_of(&folder, name).unwrap_or_default();
                let role = Role::Folder(below.stat_self()?, xattrs, Extent::Ancestor);
                self.batch.entries.push(Entry {
                    path: path.clone(),
                    role,
                });
            }
            folder = below;
        }
        Ok(folder)
    }

    fn list_base(&mut self) -> io::Result<Frame> {
        self.device = self.base.stat_self()?.device;
        Ok(sorted(self.base.names()?))
    }

    fn walk_tree(&mut self, path: RepoPath, folder: Arc<Folder>, names: Frame) -> Result<(), Stop> {
        let mut stack = FolderStack::new(Arc::clone(&self.base));
        stack.push(path, Some(folder), names);
        while let Some((path, names)) = stack.top() {
            let Some(listed) = names.next() else {
                stack.pop();
                continue;
            };
            let path = path.clone();
            let folder = match stack.folder() {
                Ok(folder) => folder,
                Err(error) => {
                    let reason = format!("moved while being read: {}", client::reason(&error));
                    self.push(path, Role::Lost(reason))?;
                    stack.pop();
                    continue;
                }
            };
            if let Some((path, folder, names)) = self.visit(&folder, &path, &listed)? {
                stack.push(path, Some(folder), names);
            }
        }
        Ok(())
    }

    /// Looks at one name. Answers the folder to go down into.
    fn visit(
        &mut self,
        folder: &Arc<Folder>,
        above: &RepoPath,
        listed: &Listed,
    ) -> Result<Option<(RepoPath, Arc<Folder>, Frame)>, Stop> {
        let Ok(path) = above.join(&listed.name) else {
            let reason = "its path is too long to be kept".to_owned();
            self.push(above.clone(), Role::Lost(reason))?;
            return Ok(None);
        };
        let kind = match listed.kind {
            Some(kind) => Ok(kind),
            None => folder.stat(&listed.name).map(|stat| stat.kind),
        };
        let is_dir = matches!(kind, Ok(FileKind::Dir));
        if self.rules.patterns.matches(&path, is_dir) {
            return Ok(None);
        }
        if let Err(error) = kind {
            self.push(path, Role::Lost(lost(&error)))?;
        } else if is_dir {
            let below = self.enter(folder, &listed.name, &path, self.device)?;
            return Ok(below.map(|(folder, names)| (path, folder, names)));
        } else {
            self.push(path, Role::Named(Arc::clone(folder)))?;
        }
        Ok(None)
    }

    /// Emits a folder. Answers its handle and its names if there is anything to walk in it.
    fn enter(
        &mut self,
        above: &Folder,
        name: &[u8],
        path: &RepoPath,
        device: u64,
    ) -> Result<Option<(Arc<Folder>, Frame)>, Stop> {
        let (stat, xattrs, extent, listed, error) = match self.look_into(above, name, device) {
            Ok(seen) => seen,
            Err(error) => {
                self.push(path.clone(), Role::Lost(lost(&error)))?;
                return Ok(None);
            }
        };
        self.push(path.clone(), Role::Folder(stat, xattrs, extent))?;
        if let Some(error) = error {
            let reason = format!("cannot list: {}", client::reason(&error));
            self.push(path.clone(), Role::Lost(reason))?;
        }
        Ok(listed.map(|(folder, names)| (folder, sorted(names))))
    }

    fn look_into(&self, above: &Folder, name: &[u8], device: u64) -> io::Result<Seen> {
        let stat = above.stat(name)?;
        if stat.kind != FileKind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let unopened = |extent, error| -> io::Result<Seen> {
            let xattrs = client::xattrs_of(above, name).unwrap_or_default();
            Ok((stat, xattrs, extent, None, error))
        };
        if self.rules.one_file_system && stat.device != device {
            return unopened(Extent::Mount, None);
        }
        let folder = match above.open(name) {
            Ok(folder) => Arc::new(folder),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return unopened(Extent::Unreadable, Some(error));
            }
            Err(error) => return Err(error),
        };
        let stat = folder.stat_self()?;
        let xattrs = client::own_xattrs(&*folder)?;
        let names = match folder.names() {
            Ok(names) => names,
            Err(error) => return Ok((stat, xattrs, Extent::Unreadable, None, Some(error))),
        };
        let (extent, names) = self.heed_marks(&folder, names);
        Ok((stat, xattrs, extent, Some((folder, names)), None))
    }

    /// Of a marked folder only the mark stays.
    fn heed_marks(&self, folder: &Folder, names: Vec<Listed>) -> (Extent, Vec<Listed>) {
        let mark = self.rules.marks.iter().find(|mark| {
            names.iter().any(|listed| listed.name == mark.name) && self.is_marked(folder, mark)
        });
        let Some(mark) = mark else {
            return (Extent::All, names);
        };
        let only_mark = names.into_iter().filter(|listed| listed.name == mark.name);
        (Extent::Marked, only_mark.collect())
    }

    fn is_marked(&self, folder: &Folder, mark: &FolderMark) -> bool {
        if mark.header.is_empty() {
            return true;
        }
        let read = || -> io::Result<Vec<u8>> {
            let stat = folder.stat(&mark.name)?;
            if stat.kind != FileKind::File {
                return Ok(Vec::new());
            }
            let file = folder.open_file(&mark.name, &stat, self.powers)?;
            let mut start = Vec::with_capacity(mark.header.len());
            file.read_more(&mut start)?;
            Ok(start)
        };
        read().is_ok_and(|start| start.starts_with(&mark.header))
    }

    fn push(&mut self, path: RepoPath, role: Role) -> Result<(), Stop> {
        let last = self.batch.entries.last().map(|entry| &entry.role);
        if let (Role::Named(folder), last) = (&role, last) {
            let same = matches!(last, Some(Role::Named(last)) if Arc::ptr_eq(folder, last));
            self.batch.folders += usize::from(!same);
        }
        self.batch.entries.push(Entry { path, role });
        if self.batch.entries.len() >= BATCH_ENTRIES || self.batch.folders >= BATCH_FOLDERS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.entries.is_empty() {
            return Ok(());
        }
        (self.send)(std::mem::take(&mut self.batch))
    }
}

/// Facts, attributes, extent, and either the open folder with its names or why it could not be listed.
type Seen = (
    Stat,
    Xattrs,
    Extent,
    Option<(Arc<Folder>, Vec<Listed>)>,
    Option<io::Error>,
);

fn sorted(mut names: Vec<Listed>) -> Frame {
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    names.into_iter()
}

/// Says why an entry that had been listed could not be read.
pub(super) fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "vanished while being read".into()
        }
        _ => client::reason(error),
    }
}

/// The failure of a whole root.
pub(super) fn root_failed(root: &str, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceErrorKind::Missing,
        io::ErrorKind::PermissionDenied => SourceErrorKind::Denied,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("cannot read {root}")).because(error)
}
