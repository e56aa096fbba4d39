//! The plan of a restore: what happens to each entry of the target, decided from what is wished and what is there.
//!
//! Plain data and pure functions. `survey` finds the facts, `apply` carries the plan out.

use std::collections::{BTreeMap, BTreeSet};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::Skipped;

use super::client::{FileKind, Stat, Xattrs};
use super::extent::Extent;
use super::metadata::Wanted;

/// When an entry that is there already is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Always, even if it looks equal.
    Always,
    /// If size or modification time differ, or the content where it is compared. Else only its facts are set.
    #[default]
    IfChanged,
    /// If the one in the snapshot was modified later.
    IfNewer,
    /// Never.
    Never,
}

/// What happens to one entry of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// It is not there and is made.
    Create,
    /// Another one is there and is replaced.
    Overwrite,
    /// Its content is right; owner, mode, times or attributes are set.
    Metadata,
    /// It is as it should be.
    Unchanged,
    /// Another one is there and stays, because of the overwrite mode.
    Keep,
    /// It is not in the snapshot and is removed.
    Delete,
}

/// One entry of the target and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Path below the target.
    pub path: RepoPath,
    /// What happens.
    pub act: Act,
}

/// Everything a restore will do, in the order of paths.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// Entries that are not in the snapshot: folders before their content.
    pub deletions: Vec<Doomed>,
    /// Temporary files of runs that are gone.
    pub leftovers: Vec<RepoPath>,
    pub problems: Vec<Skipped>,
    /// Whether some of them are damage of the repository.
    pub damaged: bool,
    /// Bytes of the content that is written.
    pub write_bytes: u64,
    /// What the file systems that something changes on will take beyond what they have now, by their numbers.
    pub needs: BTreeMap<u64, Need>,
}

/// A file system at or below the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    pub device: u64,
    /// Path below the target of a folder on it.
    pub folder: RepoPath,
}

/// What one file system will take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Path below the target of a folder on it.
    pub folder: RepoPath,
    pub bytes: u64,
    pub entries: u64,
}

/// What is done for one entry.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// Path below the target.
    pub path: RepoPath,
    pub act: Act,
    pub what: What,
    pub wanted: Wanted,
    /// What is removed first because it is in the way: folders before their content.
    pub clear: Vec<Doomed>,
}

impl Step {
    /// Whether a folder goes for it, with all that is in it.
    pub(super) fn replaces_folder(&self) -> bool {
        self.clear.len() > 1 && !matches!(self.act, Act::Unchanged | Act::Keep)
    }
}

/// An entry that is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doomed {
    pub path: RepoPath,
    pub is_dir: bool,
}

/// What is wished for one path.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    Dir(Extent),
    File(FileWish),
    Link(Vec<u8>),
    /// A further name of the file at this path below the target.
    HardLink(RepoPath),
    Node(FileKind, (u32, u32)),
}

/// A file that is wished for.
#[derive(Debug, PartialEq)]
pub(super) struct FileWish {
    pub size_bytes: u64,
    pub sparse: bool,
    /// Path of the item that has the content.
    pub content: RepoPath,
    /// File system and inode of the one on disk, if it stays and has several names.
    pub linked: Option<(u64, u64)>,
}

/// What is on disk at a path.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub stat: Stat,
    pub xattrs: Xattrs,
    pub link_target: Vec<u8>,
}

impl What {
    /// What kind of entry this is on disk.
    pub(super) fn kind(&self) -> FileKind {
        match self {
            Self::Dir(_) => FileKind::Dir,
            Self::File(_) | Self::HardLink(_) => FileKind::File,
            Self::Link(_) => FileKind::Link,
            Self::Node(kind, _) => *kind,
        }
    }
}

impl Plan {
    /// What a file system will take, which from now on is one that changes.
    pub(super) fn need(&mut self, volume: &Volume) -> &mut Need {
        self.needs.entry(volume.device).or_insert_with(|| Need {
            folder: volume.folder.clone(),
            bytes: 0,
            entries: 0,
        })
    }

    /// Adds a step and what it will take of the file system that it is done on.
    pub(super) fn push(&mut self, step: Step, on_disk: Option<&Stat>, volume: &Volume) {
        if !matches!(step.act, Act::Unchanged | Act::Keep) {
            self.need(volume);
        }
        if let (What::File(file), Act::Create | Act::Overwrite) = (&step.what, step.act) {
            self.write_bytes = self.write_bytes.saturating_add(file.size_bytes);
            let freed = on_disk.filter(|stat| stat.links == 1);
            let freed = freed.map_or(0, |stat| stat.allocated_bytes);
            if !file.sparse {
                let more = file.size_bytes.saturating_sub(freed);
                let need = self.need(volume);
                need.bytes = need.bytes.saturating_add(more);
            }
        }
        if step.act == Act::Create && !matches!(step.what, What::HardLink(_)) {
            let need = self.need(volume);
            need.entries = need.entries.saturating_add(1);
        }
        self.steps.push(step);
    }

    /// The step for a path, if it is planned.
    pub(super) fn step(&self, path: &RepoPath) -> Option<&Step> {
        let at = self
            .steps
            .binary_search_by(|step| step.path.cmp(path))
            .ok()?;
        self.steps.get(at)
    }

    /// Leaves every folder that was to go for something else, and the further names of a file that is not made then.
    pub(super) fn keep_folders(&mut self) {
        let mut left = BTreeSet::new();
        for step in &mut self.steps {
            let reason = match &step.what {
                _ if step.replaces_folder() => NOT_REPLACED.to_owned(),
                What::HardLink(leader) if left.contains(leader) => {
                    format!("its first name {leader} was not restored")
                }
                _ => continue,
            };
            left.insert(step.path.clone());
            step.act = Act::Keep;
            step.clear.clear();
            self.problems.push(Skipped {
                path: step.path.to_string(),
                reason,
            });
        }
    }

    /// The plan as the user sees it.
    pub(super) fn changes(&self) -> Vec<Change> {
        let steps = self.steps.iter().map(|step| (&step.path, step.act));
        let cleared = self.steps.iter().flat_map(|step| {
            let below = step.clear.iter().filter(|doomed| doomed.path != step.path);
            below.map(|doomed| (&doomed.path, Act::Delete))
        });
        let deleted = self
            .deletions
            .iter()
            .map(|doomed| (&doomed.path, Act::Delete));
        let leftovers = self.leftovers.iter().map(|path| (path, Act::Delete));
        let all = steps.chain(cleared).chain(deleted).chain(leftovers);
        let mut changes: Vec<_> = all
            .map(|(path, act)| Change {
                path: path.clone(),
                act,
            })
            .collect();
        changes.sort();
        changes
    }
}

/// Why nothing is deleted once anything was found damaged: it may be the same data, under the name that it had later.
pub(super) const NOT_DELETED: &str =
    "is not deleted, since something else is damaged in the repository";
/// The same of what stands where a folder with something in it is.
pub(super) const NOT_REPLACED: &str =
    "the folder in its place is not deleted, since something else is damaged in the repository";

/// Decides what happens to one entry.
pub(super) fn decide(
    what: &What,
    wanted: &Wanted,
    on_disk: Option<&OnDisk>,
    overwrite: Overwrite,
    leader: Option<(u64, u64)>,
) -> Act {
    let Some(on_disk) = on_disk else {
        return Act::Create;
    };
    let equal = content_equal(what, wanted, on_disk, leader);
    let same = equal && !wanted.differs(on_disk);
    let is_dir = matches!(what, What::Dir(_));
    let newer = wanted
        .mtime_ns
        .is_none_or(|mtime_ns| mtime_ns > on_disk.stat.mtime_ns);
    match overwrite {
        Overwrite::Always if !is_dir => Act::Overwrite,
        Overwrite::Never | Overwrite::IfNewer if same => Act::Unchanged,
        Overwrite::Never => Act::Keep,
        Overwrite::IfNewer if !newer => Act::Keep,
        _ if same => Act::Unchanged,
        _ if is_dir && equal => Act::Metadata,
        Overwrite::IfNewer => Act::Overwrite,
        // A file with further names is replaced, since they may lie outside the target.
        _ if equal && matches!(what, What::File(_)) && on_disk.stat.links == 1 => Act::Metadata,
        _ => Act::Overwrite,
    }
}

/// Whether an entry has the right kind and content already.
pub(super) fn content_equal(
    what: &What,
    wanted: &Wanted,
    on_disk: &OnDisk,
    leader: Option<(u64, u64)>,
) -> bool {
    let stat = &on_disk.stat;
    what.kind() == stat.kind
        && match what {
            What::File(file) => {
                file.size_bytes == stat.size_bytes && wanted.mtime_ns == Some(stat.mtime_ns)
            }
            What::Link(target) => *target == on_disk.link_target,
            What::HardLink(_) => leader == Some((stat.device, stat.inode)),
            What::Dir(_) | What::Node(FileKind::Fifo, _) => true,
            What::Node(_, node) => *node == stat.node,
        }
}
