//! Applying a plan: folders on the way down, files on several threads, then hard links, deletions, and last the facts
//! of folders from the deepest up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, Skipped, SourceError, SourceErrorKind};

use super::client::{self, FileKind, Folder, Powers, TempName};
use super::extent::Extent;
use super::ledger::{Ledger, lock};
use super::metadata::Notes;
use super::plan::{Act, Change, Doomed, FileWish, NOT_DELETED, NOT_REPLACED, Plan, Step, What};
use super::rebuild::{FilesEvent, FilesRestoreOptions};
use super::stack::FolderStack;
use super::verify;
use super::write::{Failure, unreadable, write_file};

/// Files from this size on are written one after another: the engine reads each of them by several threads.
const LARGE_BYTES: u64 = 8 * 1024 * 1024;
/// Files on their way to the threads that write them.
const JOBS: usize = 64;

/// A plan being carried out.
pub(super) struct Apply<'a> {
    pub plan: &'a Plan,
    pub items: &'a dyn Items,
    pub options: &'a FilesRestoreOptions,
    pub powers: &'a Powers,
    pub notes: &'a Notes,
    pub base: Arc<Folder>,
    pub observe: &'a (dyn Fn(FilesEvent<'_>) + Sync),
    pub ledger: Ledger,
}

/// A file to write or to dress, by its place in the plan, in an open folder.
type Job = (usize, Arc<Folder>);

impl Apply<'_> {
    /// Carries the plan out. What failed for single entries is in the ledger.
    pub(super) fn run(&self) -> Result<(), SourceError> {
        for path in &self.plan.leftovers {
            let gone = self.in_folder(path, |folder, name| {
                if client::is_dead_leftover(folder, name) {
                    folder.remove(name, false)
                } else {
                    Ok(())
                }
            });
            self.settle(path, Act::Delete, gone);
        }
        let (send, jobs) = bounded(JOBS);
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads.max(1) {
                let jobs = jobs.clone();
                scope.spawn(move || self.work(&jobs));
            }
            drop(jobs);
            self.descend(&send);
            drop(send);
        });
        self.stop_if_failed()?;
        self.replace_folders();
        self.stop_if_failed()?;
        self.link_and_delete();
        self.finish_folders();
        self.stop_if_failed()?;
        if self.options.sync {
            self.sync().map_err(|error| {
                let kind = match error.kind() {
                    io::ErrorKind::StorageFull => SourceErrorKind::NoSpace,
                    _ => SourceErrorKind::Other,
                };
                SourceError::new(kind, "cannot write the target to its disk").because(error)
            })?;
        }
        Ok(())
    }

    /// Waits for every file system that something changed on.
    fn sync(&self) -> io::Result<()> {
        self.base.sync_file_system()?;
        let folders = self.plan.needs.values().map(|need| &need.folder);
        folders
            .filter(|folder| !folder.is_root())
            .try_for_each(|folder| self.base.open_below(folder)?.sync_file_system())
    }

    /// Makes folders, links and pipes, and hands files to the threads.
    fn descend(&self, send: &Sender<Job>) {
        let mut stack: FolderStack<bool> = FolderStack::new(Arc::clone(&self.base));
        stack.push(RepoPath::root(), Some(Arc::clone(&self.base)), true);
        for (at, step) in self.plan.steps.iter().enumerate() {
            if self.is_stopped() || self.items.cancelled() {
                return;
            }
            while stack
                .top()
                .is_some_and(|(top, _)| !step.path.starts_with(top))
            {
                stack.pop();
            }
            let usable = stack.top().is_some_and(|(_, usable)| *usable);
            let is_dir = matches!(step.what, What::Dir(_));
            if !usable {
                if step.act != Act::Keep {
                    self.fail(&step.path, "the folder above it could not be made".into());
                }
                if is_dir {
                    stack.push(step.path.clone(), None, false);
                }
                continue;
            }
            let is_last = step.replaces_folder();
            let made = if is_last {
                Ok(())
            } else {
                self.take_step(at, step, &mut stack, send)
            };
            let usable = made.is_ok();
            let is_late = is_last || matches!(step.what, What::File(_) | What::HardLink(_));
            if made.is_err() || !is_late || matches!(step.act, Act::Unchanged | Act::Keep) {
                self.settle(&step.path, step.act, made);
            }
            if is_dir {
                stack.push(step.path.clone(), None, usable);
            }
        }
    }

    fn take_step(
        &self,
        at: usize,
        step: &Step,
        stack: &mut FolderStack<bool>,
        send: &Sender<Job>,
    ) -> io::Result<()> {
        if matches!(step.act, Act::Unchanged | Act::Keep) {
            return Ok(());
        }
        let folder = stack.folder()?;
        // A file that is damaged never comes, nor do its further names: what is in the way of those goes once they can be
        // placed.
        match step.what {
            What::File(_) => {
                // A thread that died took the receiver along; the scope reports its panic.
                send.send((at, folder)).unwrap_or_default();
                Ok(())
            }
            What::HardLink(_) => Ok(()),
            What::Dir(_) | What::Link(_) | What::Node(..) => self.make(step, &folder),
        }
    }

    /// Makes anything that has no content.
    fn make(&self, step: &Step, folder: &Arc<Folder>) -> io::Result<()> {
        self.clear(&step.clear)?;
        let name = step.path.name().unwrap_or_default();
        match &step.what {
            What::Dir(_) if step.act == Act::Metadata => {
                step.wanted.close_folder(&folder.open(name)?, self.notes)
            }
            What::Dir(_) => folder.make_dir(name),
            What::Link(target) => {
                let temp = TempName::link(folder, target)?;
                let wanted = &step.wanted;
                wanted.dress_named(folder, temp.as_bytes(), true, self.notes)?;
                temp.place(name)
            }
            What::Node(kind, node) => {
                let temp = TempName::node(folder, *kind, *node)?;
                let wanted = &step.wanted;
                wanted.dress_named(folder, temp.as_bytes(), false, self.notes)?;
                temp.place(name)
            }
            What::File(_) | What::HardLink(_) => Ok(()),
        }
    }

    /// Reads what is to stand where folders with something in them are: whether it is damaged is known before any of them goes.
    fn read_ahead(&self) {
        for step in self.plan.steps.iter().filter(|step| step.replaces_folder()) {
            let What::File(file) = &step.what else {
                continue;
            };
            if self.is_stopped() {
                return;
            }
            let read = self.items.read(&file.content, &mut |_| {
                if self.items.cancelled() {
                    let act = "reading files was interrupted";
                    return Err(SourceError::new(SourceErrorKind::Cancelled, act));
                }
                Ok(())
            });
            if let Err(error) = read {
                self.take_failure(&step.path, unreadable(error));
            }
        }
    }

    /// Makes what stands where folders with something in them are, once all else is known to be whole.
    fn replace_folders(&self) {
        self.read_ahead();
        for (at, step) in self.plan.steps.iter().enumerate() {
            if self.is_stopped() || self.items.cancelled() {
                return;
            }
            let is_link = matches!(step.what, What::HardLink(_));
            if !step.replaces_folder() || is_link || self.has_failed(&step.path) {
                continue;
            }
            if self.ledger.is_damaged() {
                self.fail(&step.path, NOT_REPLACED.to_owned());
                continue;
            }
            let made = self.in_folder(&step.path, |folder, _| match &step.what {
                What::File(file) => {
                    self.write(at, step, file, folder);
                    Ok(None)
                }
                _ => self.make(step, folder).map(Some),
            });
            // A file was settled where it was written.
            if let Some(made) = made.transpose() {
                self.settle(&step.path, step.act, made);
            }
        }
    }

    fn work(&self, jobs: &Receiver<Job>) {
        for (at, folder) in jobs {
            let Some(step) = self.plan.steps.get(at) else {
                continue;
            };
            let What::File(file) = &step.what else {
                continue;
            };
            if self.is_stopped() {
                continue; // Drains the queue, so that nobody waits to put into it.
            }
            if step.act == Act::Metadata {
                self.settle(&step.path, step.act, self.dress_file(&folder, step));
                continue;
            }
            self.write(at, step, file, &folder);
        }
    }

    fn write(&self, at: usize, step: &Step, file: &FileWish, folder: &Arc<Folder>) {
        let wish = (file, &step.wanted);
        let how = (self.notes, self.options.verify);
        let _alone = (file.size_bytes >= LARGE_BYTES).then(|| lock(&self.ledger.large));
        let place = (folder, &step.path);
        let clear = || self.clear(&step.clear);
        match write_file(self.items, place, wish, how, &clear) {
            Ok(hash) => {
                self.ledger
                    .written_bytes
                    .fetch_add(file.size_bytes, Ordering::Relaxed);
                if let Some(hash) = hash {
                    lock(&self.ledger.hashes).push((at, hash));
                }
                (self.observe)(FilesEvent::Written(file.size_bytes));
                self.settle(&step.path, step.act, Ok(()));
            }
            Err(failure) => self.take_failure(&step.path, failure),
        }
    }

    fn dress_file(&self, folder: &Folder, step: &Step) -> io::Result<()> {
        let name = step.path.name().unwrap_or_default();
        let stat = folder.stat(name)?;
        let file = folder.open_file(name, &stat, self.powers)?;
        let opened = file.stat()?;
        // It was looked at before: it must still be a file of one name.
        if opened.kind != FileKind::File || opened.links != 1 || !opened.same_inode(&stat) {
            return Err(io::Error::other("changed since the restore began"));
        }
        step.wanted.close_file(&file)?;
        step.wanted.dress(&file, self.notes)
    }

    fn link_and_delete(&self) {
        for step in &self.plan.steps {
            let What::HardLink(leader) = &step.what else {
                continue;
            };
            if matches!(step.act, Act::Unchanged | Act::Keep) || self.has_failed(&step.path) {
                continue;
            }
            let linked = if self.has_failed(leader) {
                Err(io::Error::other(format!(
                    "its first name {leader} was not restored"
                )))
            } else if step.replaces_folder() && self.ledger.is_damaged() {
                Err(io::Error::other(NOT_REPLACED))
            } else {
                self.hard_link(step, leader)
            };
            self.settle(&step.path, step.act, linked);
        }
        if self.ledger.is_damaged() {
            let kept = self.plan.deletions.iter();
            kept.for_each(|doomed| self.fail(&doomed.path, NOT_DELETED.to_owned()));
            return;
        }
        for doomed in self.plan.deletions.iter().rev() {
            let gone = self.in_folder(&doomed.path, |folder, name| {
                folder.remove(name, doomed.is_dir)
            });
            self.settle(&doomed.path, Act::Delete, gone);
        }
    }

    fn hard_link(&self, step: &Step, leader: &RepoPath) -> io::Result<()> {
        self.in_folder(leader, |of_folder, of| {
            self.in_folder(&step.path, |folder, name| {
                let leader = of_folder.stat(of)?;
                let temp = TempName::hard_link(folder, of_folder, of)?;
                let made = folder.stat(temp.as_bytes())?;
                if leader.kind != FileKind::File || !made.same_inode(&leader) {
                    return Err(io::Error::other("its first name changed meanwhile"));
                }
                self.clear(&step.clear)?;
                temp.place(name)
            })
        })
    }

    /// Removes what is in the way, content before folders.
    fn clear(&self, doomed: &[Doomed]) -> io::Result<()> {
        doomed.iter().rev().try_for_each(|doomed| {
            self.in_folder(&doomed.path, |folder, name| {
                folder.remove(name, doomed.is_dir)
            })
        })
    }

    /// Children come after their folders in the plan, so from its end on every folder is complete.
    fn finish_folders(&self) {
        for step in self.plan.steps.iter().rev() {
            let What::Dir(extent) = step.what else {
                continue;
            };
            let is_ours = match step.act {
                Act::Create | Act::Overwrite | Act::Metadata => true,
                // Its time changed with its content.
                Act::Unchanged => extent != Extent::Ancestor,
                Act::Keep | Act::Delete => false,
            };
            if !is_ours || self.has_failed(&step.path) {
                continue;
            }
            let open = |above: &Arc<Folder>, name: &[u8]| above.open(name);
            let dressed = self.in_folder(&step.path, open).and_then(|folder| {
                let mtime_ns = folder.stat_self()?.mtime_ns;
                if step.act == Act::Unchanged && step.wanted.mtime_ns == Some(mtime_ns) {
                    return Ok(());
                }
                step.wanted.dress(&folder, self.notes)
            });
            if let Err(error) = dressed {
                self.fail(&step.path, client::reason(&error));
            }
        }
    }

    /// Reads back what was written and names the files that differ.
    pub(super) fn verify(&self) -> Vec<Skipped> {
        (self.observe)(FilesEvent::Verifying);
        let hashes = std::mem::take(&mut *lock(&self.ledger.hashes));
        let share = hashes.len().div_ceil(self.options.threads.max(1)).max(1);
        let mut differing: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = hashes
                .chunks(share)
                .map(|share| scope.spawn(move || self.differing(share)))
                .collect();
            let joined = threads.into_iter().map(|thread| match thread.join() {
                Ok(differing) => differing,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.flatten().collect()
        });
        differing.sort_by(|a, b| a.path.cmp(&b.path));
        differing
    }

    fn differing(&self, written: &[(usize, blake3::Hash)]) -> Vec<Skipped> {
        let mut differing = Vec::new();
        for (at, hash) in written {
            let Some(step) = self.plan.steps.get(*at) else {
                continue;
            };
            let found = self.in_folder(&step.path, |folder, name| {
                let stat = folder.stat(name)?;
                verify::hash_on_disk(&folder.open_file(name, &stat, self.powers)?)
            });
            let reason = match found {
                Ok(found) if found == *hash => continue,
                Ok(_) => "what was read back is not what was written".to_owned(),
                Err(error) => format!("cannot be read back: {}", client::reason(&error)),
            };
            let path = step.path.to_string();
            differing.push(Skipped { path, reason });
        }
        differing
    }

    /// Does something with a name in its folder, found again from the target.
    fn in_folder<T>(
        &self,
        path: &RepoPath,
        act: impl FnOnce(&Arc<Folder>, &[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let parent = path.parent().unwrap_or_default();
        let folder = if parent.is_root() {
            Arc::clone(&self.base)
        } else {
            Arc::new(self.base.open_below(&parent)?)
        };
        act(&folder, path.name().unwrap_or_default())
    }

    /// Writes down how one entry went.
    fn settle(&self, path: &RepoPath, act: Act, went: io::Result<()>) {
        match went.map_err(|error| Failure::of(error, path)) {
            Ok(()) => {
                let path = path.clone();
                (self.observe)(FilesEvent::Done(&Change { path, act }));
            }
            Err(failure) => self.take_failure(path, failure),
        }
    }

    fn take_failure(&self, path: &RepoPath, failure: Failure) {
        match failure {
            Failure::Entry(reason) => self.fail(path, reason),
            Failure::Damage(reason) => {
                self.ledger.damaged.store(true, Ordering::Relaxed);
                self.fail(path, reason);
            }
            Failure::Restore(error) => self.stop(error),
        }
    }

    fn fail(&self, path: &RepoPath, reason: String) {
        let shown = Skipped {
            path: path.to_string(),
            reason,
        };
        (self.observe)(FilesEvent::Problem(&shown));
        lock(&self.ledger.failed).insert(path.clone(), shown.reason);
    }

    fn has_failed(&self, path: &RepoPath) -> bool {
        lock(&self.ledger.failed).contains_key(path)
    }

    fn stop(&self, error: SourceError) {
        lock(&self.ledger.fatal).get_or_insert(error);
        self.ledger.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.ledger.stopped.load(Ordering::Relaxed)
    }

    fn stop_if_failed(&self) -> Result<(), SourceError> {
        if self.items.cancelled() && !self.is_stopped() {
            let act = "the restore was interrupted";
            self.stop(SourceError::new(SourceErrorKind::Cancelled, act));
        }
        lock(&self.ledger.fatal).take().map_or(Ok(()), Err)
    }
}
