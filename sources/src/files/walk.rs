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
/// Most components that the path of an entry may have in a repository; what is deeper would fail the whole capture.
const DEPTH_MAX: usize = 512;
const TOO_DEEP: &str = "lies too deep to be kept";

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
    /// Roots that lie in others, in order.
    inner: &'a [RepoPath],
    /// Those of them that were met.
    met: BTreeSet<RepoPath>,
}

/// What is left to look at in a folder.
struct Frame {
    names: std::vec::IntoIter<Listed>,
    within: Within,
}

/// What holds for everything in a folder.
#[derive(Debug, Clone, Copy)]
struct Within {
    /// Components of the path of the folder.
    depth: usize,
    /// The file system of the innermost root that holds it.
    device: u64,
    /// The folder itself is left out: a folder in it is only passed.
    passing: bool,
}

/// How a folder is entered.
#[derive(Debug, Clone, Copy)]
struct Entering {
    depth: usize,
    /// The file system to stay on; none at a root, which begins its own.
    device: Option<u64>,
    /// It is left out, and passed because it leads to a root.
    passing: bool,
    /// Whether a root lies below it.
    leads: bool,
}

/// A folder to go down into.
type Below = (RepoPath, Arc<Folder>, Frame);

impl<'a> Walk<'a> {
    /// Prepares a walk whose batches go to `send`. `inner` are the roots that lie in others.
    pub(super) fn new(
        (rules, powers): (&'a Rules, &'a Powers),
        base: Arc<Folder>,
        inner: &'a [RepoPath],
        send: &'a mut dyn FnMut(Batch) -> Result<(), Stop>,
    ) -> Self {
        Self {
            rules,
            powers,
            base,
            send,
            batch: Batch::default(),
            passed: BTreeSet::new(),
            inner,
            met: BTreeSet::new(),
        }
    }

    /// Walks the roots, which are sorted and of which none holds another.
    pub(super) fn run(mut self, roots: &[RepoPath]) -> Result<(), Stop> {
        for root in roots {
            let failed = |error: io::Error| Stop::Failed(root_failed(&format!("/{root}"), error));
            let depth = root.components().count();
            if is_too_deep(depth, false) {
                self.push(root.clone(), Role::Lost(TOO_DEEP.into()))?;
                continue;
            }
            let folder = self.pass_ancestors(root).map_err(failed)?;
            let Some(name) = root.name() else {
                let frame = self.list_base().map_err(failed)?;
                self.walk_tree((root.clone(), folder, frame))?;
                continue;
            };
            let is_dir = folder.stat(name).map_err(failed)?.kind == FileKind::Dir;
            if is_too_deep(depth, is_dir) {
                self.push(root.clone(), Role::Lost(TOO_DEEP.into()))?;
            } else if is_dir {
                let entering = Entering {
                    depth,
                    device: None,
                    passing: false,
                    leads: self.is_named(root).1,
                };
                if let Some(below) = self.enter(&folder, root.clone(), entering)? {
                    self.walk_tree(below)?;
                }
            } else {
                self.push(root.clone(), Role::Named(folder))?;
            }
        }
        self.name_unmet()?;
        self.flush()
    }

    /// A root that lies in another and was not found there is not lost in silence.
    fn name_unmet(&mut self) -> Result<(), Stop> {
        for root in self.inner {
            if !self.met.contains(root) {
                let reason = "is a root and was not met".to_owned();
                self.push(root.clone(), Role::Lost(reason))?;
            }
        }
        Ok(())
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

    fn list_base(&self) -> io::Result<Frame> {
        let within = Within {
            depth: 0,
            device: self.base.stat_self()?.device,
            passing: false,
        };
        let names = sorted(self.base.names()?);
        Ok(Frame { names, within })
    }

    fn walk_tree(&mut self, (path, folder, frame): Below) -> Result<(), Stop> {
        let mut stack = FolderStack::new(Arc::clone(&self.base));
        stack.push(path, Some(folder), frame);
        while let Some((path, frame)) = stack.top() {
            let Some(listed) = frame.names.next() else {
                stack.pop();
                continue;
            };
            let (path, within) = (path.clone(), frame.within);
            let folder = match stack.folder() {
                Ok(folder) => folder,
                Err(error) => {
                    let reason = format!("moved while being read: {}", client::reason(&error));
                    self.push(path, Role::Lost(reason))?;
                    stack.pop();
                    continue;
                }
            };
            if let Some((path, folder, frame)) = self.visit(&folder, &path, (&listed, within))? {
                stack.push(path, Some(folder), frame);
            }
        }
        Ok(())
    }

    /// Looks at one name. Answers the folder to go down into.
    fn visit(
        &mut self,
        folder: &Arc<Folder>,
        above: &RepoPath,
        (listed, within): (&Listed, Within),
    ) -> Result<Option<Below>, Stop> {
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
        let (is_root, leads) = self.is_named(&path);
        if is_root {
            self.met.insert(path.clone());
        }
        let excluded = !is_root && self.rules.patterns.matches(&path, is_dir);
        if excluded && !(is_dir && leads) {
            return Ok(None);
        }
        let depth = within.depth + 1;
        if is_too_deep(depth, is_dir) {
            self.push(path, Role::Lost(TOO_DEEP.into()))?;
        } else if let Err(error) = kind {
            self.push(path, Role::Lost(lost(&error)))?;
        } else if is_dir {
            let entering = Entering {
                depth,
                device: (!is_root).then_some(within.device),
                passing: !is_root && leads && (excluded || within.passing),
                leads,
            };
            return self.enter(folder, path, entering);
        } else {
            self.push(path, Role::Named(Arc::clone(folder)))?;
        }
        Ok(None)
    }

    /// Whether a path is a root that lies in another, and whether one lies below it.
    fn is_named(&self, path: &RepoPath) -> (bool, bool) {
        let from = self.inner.partition_point(|root| root < path);
        let rest = self.inner.get(from..).unwrap_or_default();
        let is_root = rest.first() == Some(path);
        let below = rest.get(usize::from(is_root));
        (is_root, below.is_some_and(|root| root.starts_with(path)))
    }

    /// The names in a folder that lead to roots.
    fn ways(&self, path: &RepoPath) -> Vec<Listed> {
        let depth = path.components().count();
        let roots = self.inner.iter().filter(|root| root.starts_with(path));
        let mut names: Vec<_> = roots
            .filter_map(|root| root.components().nth(depth).map(<[u8]>::to_vec))
            .collect();
        names.dedup();
        let listed = |name| Listed { name, kind: None };
        names.into_iter().map(listed).collect()
    }

    /// Emits a folder. Answers its handle and its names if there is anything to walk in it.
    fn enter(
        &mut self,
        above: &Folder,
        path: RepoPath,
        entering: Entering,
    ) -> Result<Option<Below>, Stop> {
        let seen = match self.look_into(above, &path, entering) {
            Ok(seen) => seen,
            Err(error) => {
                self.push(path, Role::Lost(lost(&error)))?;
                return Ok(None);
            }
        };
        let within = Within {
            depth: entering.depth,
            device: entering.device.unwrap_or(seen.stat.device),
            passing: seen.extent != Extent::All,
        };
        let role = Role::Folder(seen.stat, seen.xattrs, seen.extent);
        self.push(path.clone(), role)?;
        if let Some(error) = seen.error {
            let reason = format!("cannot list: {}", client::reason(&error));
            self.push(path.clone(), Role::Lost(reason))?;
        }
        Ok(seen.inside.map(|(folder, names)| {
            let names = sorted(names);
            (path, folder, Frame { names, within })
        }))
    }

    fn look_into(&self, above: &Folder, path: &RepoPath, entering: Entering) -> io::Result<Seen> {
        let name = path.name().unwrap_or_default();
        let stat = above.stat(name)?;
        if stat.kind != FileKind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let is_mount = |device| self.rules.one_file_system && stat.device != device;
        let is_mount = entering.device.is_some_and(is_mount);
        if entering.passing || is_mount {
            let extent = if entering.leads {
                Extent::Ancestor
            } else {
                Extent::Mount
            };
            return self.pass(above, path, (stat, entering.leads), (extent, None));
        }
        let folder = match above.open(name) {
            Ok(folder) => Arc::new(folder),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let (stat, why) = ((stat, entering.leads), (Extent::Unreadable, Some(error)));
                return self.pass(above, path, stat, why);
            }
            Err(error) => return Err(error),
        };
        let stat = folder.stat_self()?;
        let xattrs = client::own_xattrs(&*folder)?;
        let (extent, names, error) = match folder.names() {
            Ok(names) => {
                let (extent, names) = self.heed_marks(&folder, path, names);
                (extent, names, None)
            }
            Err(error) => (Extent::Unreadable, self.ways(path), Some(error)),
        };
        Ok(Seen {
            stat,
            xattrs,
            extent,
            inside: Some((folder, names)),
            error,
        })
    }

    /// A folder that is not listed: what leads to roots is passed all the same.
    fn pass(
        &self,
        above: &Folder,
        path: &RepoPath,
        (stat, leads): (Stat, bool),
        (extent, error): (Extent, Option<io::Error>),
    ) -> io::Result<Seen> {
        let name = path.name().unwrap_or_default();
        let inside = if leads {
            let folder = above.open_to_pass(name)?;
            Some((Arc::new(folder), self.ways(path)))
        } else {
            None
        };
        Ok(Seen {
            stat,
            xattrs: client::xattrs_of(above, name).unwrap_or_default(),
            extent,
            inside,
            error,
        })
    }

    /// Of a marked folder only the mark stays, and what leads to roots.
    fn heed_marks(
        &self,
        folder: &Folder,
        path: &RepoPath,
        mut names: Vec<Listed>,
    ) -> (Extent, Vec<Listed>) {
        let mark = self.rules.marks.iter().find(|mark| {
            names.iter().any(|listed| listed.name == mark.name) && self.is_marked(folder, mark)
        });
        let Some(mark) = mark else {
            return (Extent::All, names);
        };
        let ways = self.ways(path);
        let leads = |name: &[u8]| ways.iter().any(|way| way.name == name);
        names.retain(|listed| listed.name == mark.name || leads(&listed.name));
        (Extent::Marked, names)
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

/// What was found of a folder.
struct Seen {
    stat: Stat,
    xattrs: Xattrs,
    extent: Extent,
    /// Its handle and the names to look at; none if there are none.
    inside: Option<(Arc<Folder>, Vec<Listed>)>,
    /// Why it could not be listed.
    error: Option<io::Error>,
}

/// Names in order. A folder that changes while it is listed may give one twice, and perhaps as two kinds.
fn sorted(mut names: Vec<Listed>) -> std::vec::IntoIter<Listed> {
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|again, first| {
        let twice = again.name == first.name;
        if twice && again.kind != first.kind {
            first.kind = None;
        }
        twice
    });
    names.into_iter()
}

/// Whether a repository cannot hold an entry with so many components.
fn is_too_deep(depth: usize, is_dir: bool) -> bool {
    depth > DEPTH_MAX || (is_dir && depth == DEPTH_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &[u8], kind: FileKind) -> Listed {
        let (name, kind) = (name.to_vec(), Some(kind));
        Listed { name, kind }
    }

    #[test]
    fn a_name_that_is_listed_twice_is_one_entry() {
        let (dir, file) = (FileKind::Dir, FileKind::File);
        let names = vec![
            listed(b"b", file),
            listed(b"a", dir),
            listed(b"b", file),
            listed(b"a", file),
        ];
        let found: Vec<_> = sorted(names).collect();
        let unknown = Listed {
            name: b"a".to_vec(),
            kind: None,
        };
        assert_eq!(found, [unknown, listed(b"b", file)]);
    }

    #[test]
    fn a_folder_must_leave_room_for_what_is_in_it() {
        for (depth, is_dir, expected) in [
            (DEPTH_MAX - 1, true, false),
            (DEPTH_MAX, true, true),
            (DEPTH_MAX, false, false),
            (DEPTH_MAX + 1, false, true),
        ] {
            assert_eq!(is_too_deep(depth, is_dir), expected, "{depth} {is_dir}");
        }
    }
}
