//! Overwriting a database that others have open, and taking it back: by SQLite, in one transaction.
//!
//! Invariants: the copy of the old content gets its name O under the lock under which the new one is written, so that no
//! commit falls between the two; and whatever fails before the new content is committed takes that name back, so that nothing
//! is there to be brought back. Only a kill while SQLite writes leaves O beside N. M, a second name of the file that was
//! being written, then tells it from one that has taken its place since: that one is never overwritten. Nor is one that holds
//! anything but the old or the new content: SQLite undoes what was cut off, and others go on committing.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{self, Access};
use super::files::{Files, create_private, id, remove, rename, take_owner_and_mode};
use super::freeze;
use super::header::Header;
use super::hindrance::Hindrance;
use super::image::{Pinned, header_of, read_header};
use super::lock::FileId;
use super::switch::{ATTEMPTS, Switch};
use super::watch::{Content, Stamp, Watched};
use super::{SqliteSettings, beside, io_failure};

impl Switch {
    /// Copies the old database aside and lets SQLite write the new one over it.
    pub(super) fn switch_in_place(&self) -> Result<(), SourceError> {
        let Files { live, new, old } = &self.files;
        check_page_sizes(new, live)?;
        if id(old)? == id(live)? {
            // A switch by rename had begun. What is written into the one would be written into the other.
            remove(old)?;
            self.files.sync_folder()?;
            self.steps.done("unlinked");
        }
        if id(old)?.is_some() {
            self.overwrite_marked(new)?;
        } else {
            self.keep_and_overwrite()?;
        }
        self.steps.done("overwritten");
        self.files.remove_new()?;
        self.steps.done("staged file removed");
        self.unmark()
    }

    /// Brings the old content back. `is_marked`: the switch was not finished, and the mark must prove what lies there.
    pub(super) fn roll_back_in_place(&self, is_marked: bool) -> Result<(), SourceError> {
        let Files { live, old, .. } = &self.files;
        check_page_sizes(old, live)?;
        if is_marked {
            self.overwrite_marked(old)?;
        } else {
            client::overwrite(old, live, self.busy, &mut || Ok(true))?;
        }
        self.steps.done("overwritten back");
        // Before the staged file goes: that one without O is what has not been switched.
        remove(old)?;
        self.files.sync_folder()?;
        self.steps.done("copy removed");
        Ok(())
    }

    /// Writes over the file that was being written when a process was killed, and over no other, nor if anything was
    /// committed since.
    fn overwrite_marked(&self, from: &Path) -> Result<(), SourceError> {
        let live = &self.files.live;
        let mark = self.files.mark();
        // It outlives the overwriting: its descriptors must not be closed before SQLite's.
        let watched = Watched::open(live, self.busy)?;
        let watched_id = Some(watched.id()?);
        let is_marked = || -> Result<bool, SourceError> {
            Ok(id(&mark)? == watched_id && id(live)? == watched_id)
        };
        if !is_marked()? {
            return Err(self.replaced());
        }
        for _ in 0..ATTEMPTS {
            // Somebody commits, or moves the log: what it comes to shows in the next look.
            let Some(stamp) = self.look_for_known(&watched)? else {
                continue;
            };
            self.steps.done("compared");
            let mut is_same_file = false;
            let is_written = client::overwrite(from, live, self.busy, &mut || {
                is_same_file = is_marked()?;
                // It was read before, since without a log nobody else can read under this lock.
                Ok(is_same_file && watched.stamp()?.as_ref() == Some(&stamp))
            })?;
            match (is_written, is_same_file) {
                (true, _) => return Ok(()),
                (false, true) => {}
                (false, false) => return Err(self.replaced()),
            }
        }
        Err(self.worked_on())
    }

    /// The stamp of L, if it holds the old or the new content; none if somebody commits at this moment.
    fn look_for_known(&self, watched: &Watched) -> Result<Option<Stamp>, SourceError> {
        let Files { new, old, .. } = &self.files;
        let unproved = |error: SourceError| match error.kind() {
            SourceErrorKind::Corrupt => self.unproved().because(error),
            _ => error,
        };
        let Some((stamp, content)) = watched.look().map_err(unproved)? else {
            return Ok(None);
        };
        if !content.unreadable().is_empty() {
            return Err(self.unproved().because(content.unreadable().join("\n")));
        }
        // The old one may be damaged: that is why it is replaced.
        if content == Content::of_file(new)?
            || content == Content::of_file(old).map_err(unproved)?
        {
            return Ok(Some(stamp));
        }
        Err(self.worked_on())
    }

    /// L is neither the old nor the new content: whoever committed that would lose it.
    fn worked_on(&self) -> SourceError {
        let live = self.files.live.display();
        let what = format!("{live} was written to since its overwriting was cut off");
        self.is_another(&what)
    }

    /// L cannot be compared: somebody may have committed what is not read.
    fn unproved(&self) -> SourceError {
        let live = self.files.live.display();
        let what = format!(
            "nothing proves that {live} was not written to since its overwriting was cut off"
        );
        self.is_another(&what)
    }

    fn is_another(&self, what: &str) -> SourceError {
        let Files { live, old, .. } = &self.files;
        let (live, old) = (live.display(), old.display());
        SourceError::new(
            SourceErrorKind::Occupied,
            format!(
                "{what}; {old} is from before that: move {old} away if what is there now is to count as the old database (an undoing then leaves it, a resumption keeps a copy); to have {old} back, stop what uses the database, move {live} away together with its -wal and -journal, and undo the restore"
            ),
        )
    }

    fn keep_and_overwrite(&self) -> Result<(), SourceError> {
        for _ in 0..ATTEMPTS {
            if self.try_keep_and_overwrite()? {
                return Ok(());
            }
        }
        Err(Hindrance::in_use(&self.files.live, &[]))
    }

    /// Answers whether it was done: not if the file was replaced, or got a log, before it was locked.
    fn try_keep_and_overwrite(&self) -> Result<bool, SourceError> {
        let Files { live, new, .. } = &self.files;
        // To close one of our descriptors takes the locks of SQLite's away: they stay open until it has closed its own.
        let file = File::open(live).map_err(|e| io_failure("cannot read", live, e))?;
        let mut pinned = self.pin_log(&file)?;
        if let Some(pinned) = &pinned {
            // Writers need not wait for this one.
            self.copy_pinned(pinned)?;
            self.steps.done("copied");
        }
        let mut is_named = false;
        let written = client::overwrite(new, live, self.busy, &mut || {
            let base = pinned.as_ref().map_or(&file, |pinned| &pinned.image.base);
            let base_id = FileId::of_file(base).map_err(|e| io_failure("cannot read", live, e))?;
            if id(live)? != Some(base_id) {
                return Ok(false);
            }
            if let Some(pinned) = &mut pinned {
                if freeze::catch_up(pinned)? {
                    self.copy_pinned(pinned)?;
                }
            } else if has_log(&file, live)? {
                return Ok(false);
            } else {
                self.copy_file(&file)?;
            }
            is_named = true;
            self.name_copy()?;
            Ok(true)
        });
        if written.is_err() && is_named {
            // If it keeps its name, the undoing writes it back, which is more than is needed.
            let _best_effort = rename(&self.files.old, &self.files.copy());
        }
        let released = pinned.map_or(Ok(()), Pinned::release);
        drop(file);
        // What is written is not undone for the sake of a reader that ended badly.
        if !written? {
            released?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Pins what lies in the log, if there is one. Nobody can move or end the log then.
    fn pin_log(&self, file: &File) -> Result<Option<Pinned>, SourceError> {
        let live = &self.files.live;
        if !has_log(file, live)? {
            return Ok(None);
        }
        let settings = SqliteSettings {
            busy_timeout: self.busy,
            ..SqliteSettings::new(live)?
        };
        let database = File::open(live).map_err(|e| io_failure("cannot read", live, e))?;
        // The last to go removes the log, as any program would.
        let access = Access::WithLog { keeps_log: false };
        let pinned = freeze::pin_live(live, database, &settings, access)?;
        if pinned.locks.is_some() {
            return Ok(Some(pinned));
        }
        pinned.release()?;
        Ok(None)
    }

    fn copy_pinned(&self, pinned: &Pinned) -> Result<(), SourceError> {
        let copy = self.files.copy();
        self.write_copy(&|to| {
            pinned.image.copy_to(&mut |block| {
                io::Write::write_all(to, block).map_err(|e| io_failure("cannot write", &copy, e))
            })
        })
    }

    /// Copies a file in which nobody can write.
    fn copy_file(&self, file: &File) -> Result<(), SourceError> {
        let copy = self.files.copy();
        self.write_copy(&|to| {
            if rustix::fs::ioctl_ficlone(&*to, file).is_ok() {
                return Ok(());
            }
            let mut from = file;
            io::copy(&mut from, to)
                .map(drop)
                .map_err(|e| io_failure("cannot write", &copy, e))
        })
    }

    fn write_copy(
        &self,
        fill: &dyn Fn(&mut File) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let (live, copy) = (&self.files.live, self.files.copy());
        self.files.remove_copy()?;
        let mut to = create_private(&copy)?;
        fill(&mut to)?;
        let fail = |e| io_failure("cannot write", &copy, e);
        let mode = fs::metadata(live).map_err(fail)?.mode();
        take_owner_and_mode(&to, live, mode & 0o777).map_err(fail)?;
        to.sync_all().map_err(fail)
    }

    /// From here on an overwriting has begun.
    fn name_copy(&self) -> Result<(), SourceError> {
        let Files { live, old, .. } = &self.files;
        let mark = self.files.mark();
        remove(&mark)?;
        // Where files have no second names, what a kill leaves is not undone but told.
        let _best_effort = fs::hard_link(live, &mark);
        self.files.sync_folder()?;
        self.steps.done("marked");
        rename(&self.files.copy(), old)?;
        self.files.sync_folder()?;
        self.steps.done("copy kept");
        Ok(())
    }
}

/// Whether a database is written by a log, or one lies beside it.
fn has_log(file: &File, path: &Path) -> Result<bool, SourceError> {
    let says_so = header_of(file, path)?.is_some_and(|Header { wal, .. }| wal);
    Ok(says_so || id(&beside(path, "-wal"))?.is_some())
}

/// Refuses what SQLite cannot overwrite: with a log the size of the pages stays.
fn check_page_sizes(from: &Path, to: &Path) -> Result<(), SourceError> {
    match (read_header(from)?, read_header(to)?) {
        (Some(new), Some(old)) if old.wal && new.page_size != old.page_size => {
            Err(SourceError::new(
                SourceErrorKind::Occupied,
                format!(
                    "{} is in use and cannot be overwritten in place, since its pages have {} bytes and the captured ones {}: stop what uses it",
                    to.display(),
                    old.page_size,
                    new.page_size
                ),
            ))
        }
        _ => Ok(()),
    }
}
