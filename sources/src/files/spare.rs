//! What `delete` must never remove: what the capture left out on purpose or could not read, other file systems.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, Skipped, SourceError};

use super::client::{self, FileKind, Folder, Listed, Stat};
use super::excludes::{Pattern, Patterns};
use super::metadata::{Notes, count};
use super::plan::Doomed;
use super::scope::Scope;
use super::stack::FolderStack;
use super::{LARGER_THAN, PATTERNS};

/// What stays although the snapshot does not have it.
#[derive(Debug)]
pub(super) struct Spare {
    /// Patterns of the capture; none if it did not say.
    patterns: Option<Patterns>,
    larger_than_bytes: Option<u64>,
    unread: BTreeSet<String>,
    /// Not everything that was not read is named: it may be anything.
    unread_unnamed: bool,
}

/// Entries to remove, folders before their content.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub doomed: Vec<Doomed>,
    pub problems: Vec<Skipped>,
}

impl Spare {
    /// Reads what a capture says of itself.
    pub(super) fn of(items: &dyn Items) -> Result<Self, SourceError> {
        let attributes = &items.open_facts().attributes;
        let recorded: Option<Vec<Pattern>> = attributes
            .get(PATTERNS)
            .and_then(|patterns| serde_json::from_value(patterns.clone()).ok());
        let patterns = recorded.map(|patterns| Patterns::compile(&patterns));
        let skipped = items.report().skipped.iter();
        Ok(Self {
            patterns: patterns.transpose()?,
            larger_than_bytes: attributes
                .get(LARGER_THAN)
                .and_then(serde_json::Value::as_u64),
            unread: skipped.map(|skipped| skipped.path.clone()).collect(),
            unread_unnamed: items.report().unnamed > 0,
        })
    }

    /// Whether it is known what the capture left out.
    pub(super) fn is_known(&self) -> bool {
        self.patterns.is_some() && !self.unread_unnamed
    }

    /// Whether the capture says of a folder that it did not read all of it.
    pub(super) fn is_unread(&self, item: &RepoPath) -> bool {
        self.unread.contains(&format!("/{item}"))
    }

    fn spares(&self, item: &RepoPath, stat: &Stat) -> bool {
        let is_dir = stat.kind == FileKind::Dir;
        let too_large = |most| stat.kind == FileKind::File && stat.size_bytes > most;
        let excluded = |patterns: &Patterns| patterns.matches(item, is_dir);
        self.patterns.as_ref().is_none_or(excluded)
            || self.larger_than_bytes.is_some_and(too_large)
            || self.is_unread(item)
    }
}

/// Finds what can be removed of one entry of a folder and everything below it.
pub(super) struct Sweeper<'a> {
    pub base: &'a Arc<Folder>,
    pub spare: &'a Spare,
    pub scope: &'a Scope,
    pub notes: &'a Notes,
}

impl Sweeper<'_> {
    /// Lists an entry and what is in it, without what stays and the folders above that.
    pub(super) fn sweep(&self, folder: &Arc<Folder>, path: &RepoPath) -> Sweep {
        let mut sweep = Sweep::default();
        let mut kept = BTreeSet::new();
        let mut stack: FolderStack<std::vec::IntoIter<Listed>> =
            FolderStack::new(Arc::clone(self.base));
        let mut visit = |folder: &Arc<Folder>, path: &RepoPath| {
            let seen = self.look(folder, path);
            match seen {
                Ok(Fate::Goes(below)) => {
                    let is_dir = below.is_some();
                    sweep.doomed.push(Doomed {
                        path: path.clone(),
                        is_dir,
                    });
                    return below;
                }
                Ok(Fate::Stays) => count(&self.notes.spared),
                Err(error) => sweep.problems.push(Skipped {
                    path: path.to_string(),
                    reason: format!("cannot be removed: {}", client::reason(&error)),
                }),
            }
            keep_above(path, &mut kept);
            None
        };
        if let Some((folder, names)) = visit(folder, path) {
            stack.push(path.clone(), Some(folder), names);
        }
        while let Some((above, names)) = stack.top() {
            let Some(listed) = names.next() else {
                stack.pop();
                continue;
            };
            let path = above.join(&listed.name);
            if let (Ok(path), Ok(folder)) = (path, stack.folder())
                && let Some((folder, names)) = visit(&folder, &path)
            {
                stack.push(path, Some(folder), names);
            }
        }
        sweep.doomed.retain(|doomed| !kept.contains(&doomed.path));
        sweep
    }

    fn look(&self, folder: &Arc<Folder>, path: &RepoPath) -> io::Result<Fate> {
        let name = path.name().unwrap_or_default();
        let stat = folder.stat(name)?;
        let item = self.scope.item_path(path);
        let is_dir = stat.kind == FileKind::Dir;
        // What is bound here may lie on the same file system.
        let elsewhere = stat.mount_root || stat.device != folder.stat_self()?.device;
        if elsewhere || self.scope.excludes(&item, is_dir) || self.spare.spares(&item, &stat) {
            return Ok(Fate::Stays);
        }
        if !is_dir {
            return Ok(Fate::Goes(None));
        }
        let folder = Arc::new(folder.open(name)?);
        let mut names = folder.names()?;
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Fate::Goes(Some((folder, names.into_iter()))))
    }
}

/// What becomes of an extra entry.
enum Fate {
    Stays,
    /// It is removed, with what is inside if it is a folder.
    Goes(Option<Inside>),
}

type Inside = (Arc<Folder>, std::vec::IntoIter<Listed>);

/// A folder that holds something that stays, stays.
fn keep_above(path: &RepoPath, kept: &mut BTreeSet<RepoPath>) {
    kept.insert(path.clone());
    let mut above = path.parent();
    while let Some(folder) = above.filter(|folder| kept.insert(folder.clone())) {
        above = folder.parent();
    }
}
