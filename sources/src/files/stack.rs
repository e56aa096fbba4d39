//! The folders from a base down to where a walk is, of which only the deepest are kept open.
//!
//! A tree may be deeper than a process may have open files. An upper folder is closed on the way down and opened
//! again, by its path beneath the base, on the way up.

use std::io;
use std::sync::Arc;

use keepstone_engine::path::RepoPath;

use super::client::Folder;

/// How many folders of a stack are open at most.
const OPEN_MAX: usize = 32;

/// A stack of folders, each with what the walk keeps beside it.
#[derive(Debug)]
pub(super) struct FolderStack<T> {
    base: Arc<Folder>,
    levels: Vec<Level<T>>,
}

#[derive(Debug)]
struct Level<T> {
    path: RepoPath,
    folder: Option<Arc<Folder>>,
    data: T,
}

impl<T> FolderStack<T> {
    /// Starts with nothing but the base, which is no level.
    pub(super) fn new(base: Arc<Folder>) -> Self {
        Self {
            base,
            levels: Vec::new(),
        }
    }

    /// Goes down into a folder. One without a handle is opened when it is needed.
    pub(super) fn push(&mut self, path: RepoPath, folder: Option<Arc<Folder>>, data: T) {
        let upper = self.levels.len().checked_sub(OPEN_MAX);
        if let Some(level) = upper.and_then(|upper| self.levels.get_mut(upper)) {
            level.folder = None;
        }
        self.levels.push(Level { path, folder, data });
    }

    /// Goes up one level.
    pub(super) fn pop(&mut self) -> Option<(RepoPath, T)> {
        self.levels.pop().map(|level| (level.path, level.data))
    }

    /// What is kept beside the deepest level.
    pub(super) fn top(&mut self) -> Option<(&RepoPath, &mut T)> {
        let level = self.levels.last_mut()?;
        Some((&level.path, &mut level.data))
    }

    /// What is kept beside every level, the uppermost first.
    pub(super) fn levels(&mut self) -> impl Iterator<Item = &mut T> {
        self.levels.iter_mut().map(|level| &mut level.data)
    }

    /// The deepest folder, or the base; opened again if it had been closed.
    pub(super) fn folder(&mut self) -> io::Result<Arc<Folder>> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(Arc::clone(&self.base));
        };
        if let Some(folder) = &level.folder {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(self.base.open_below(&level.path)?);
        Ok(Arc::clone(level.folder.insert(folder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_deepest_folders_are_open_and_upper_ones_open_again() {
        let place = tempfile::tempdir().unwrap();
        let base = Arc::new(Folder::open_trusted(place.path()).unwrap());
        let mut stack = FolderStack::new(Arc::clone(&base));
        let mut path = RepoPath::root();
        for depth in 0..3 * OPEN_MAX {
            let above = stack.folder().unwrap();
            above.make_dir(b"d").unwrap();
            path = path.join(b"d").unwrap();
            let folder = Arc::new(above.open(b"d").unwrap());
            stack.push(path.clone(), Some(folder), depth);
            let open = stack.levels.iter().filter(|level| level.folder.is_some());
            assert!(open.count() <= OPEN_MAX);
        }
        for depth in (0..3 * OPEN_MAX).rev() {
            let again = base
                .open_below(stack.top().unwrap().0)
                .unwrap()
                .stat_self()
                .unwrap();
            assert!(
                stack
                    .folder()
                    .unwrap()
                    .stat_self()
                    .unwrap()
                    .same_inode(&again)
            );
            assert_eq!(stack.pop().unwrap().1, depth);
        }
    }
}
