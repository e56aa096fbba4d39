//! Putting a staged database in the place of the live one, and taking it back: one system call at a time.
//!
//! Every method may be called by a fresh process after a kill at any point. Which steps were taken is read from the
//! names themselves, L being the live file, N the staged one, O the old one:
//!
//! | N | O | meaning |
//! |---|---|---|
//! | there | none | staged |
//! | there | the same file as L | switch by rename begun: L is still the old database |
//! | there | another file than L | switch in place begun: O is a whole copy of the old database. M, a further name of L, proves it |
//! | gone | another file than L | switched; O is the old database |
//! | the same file as L | none | switched where there was no L |
//! | gone | the same file as L | lost while a switch by rename had begun: L is still the old database |
//! | gone | none | never staged, or lost, or discarded, or rolled back |
//!
//! A name is never taken for granted: a file that appeared, vanished or was replaced meanwhile is refused.
//!
//! Invariants: L is never missing once it was there. A `-wal` or `-journal` of one database never lies beside another: before
//! a rename they hold nothing (SQLite brought the file to rest, and an exclusive lock keeps it there) and are removed,
//! and only after the folder is synced does the rename follow. What cannot be brought to rest, because SQLite takes the file
//! for damaged, or because there is no file, has its side files moved to the name of O, and back again.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keepstone_engine::source::{Phase, SourceError, SourceErrorKind};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::client::{self, Rest};
use super::files::{Files, Steps, id, remove, rename, side_files};
use super::hindrance::Hindrance;
use super::lock::{self, DATABASE_ALL, DATABASE_PENDING, FileId};
use super::{beside, io_failure};

/// How often a database is brought to rest before somebody who keeps disturbing it wins.
pub(super) const ATTEMPTS: u32 = 5;
/// How long a locked file is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How long the switch waits for processes that had opened the old file in the last moment.
const LATECOMERS: Duration = Duration::from_secs(5);

/// One restore's way from staged to switched, and back.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) files: Files,
    /// Whether there was a database when the restore was planned.
    pub(super) replaces: bool,
    pub(super) force: bool,
    pub(super) busy: Duration,
    pub(super) steps: Steps,
}

impl Switch {
    /// Waits until no other process has the database open, and refuses when the time is up.
    pub(super) fn wait_until_closed(&self) -> Result<(), SourceError> {
        let deadline = Instant::now() + self.busy;
        loop {
            let users = self.users()?;
            if users.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Hindrance::in_use(&self.files.live, &users));
            }
            lock::pause(RETRY);
        }
    }

    /// Puts the staged file in place, or finishes doing so.
    pub(super) fn switch(&self) -> Result<(), SourceError> {
        let live = &self.files.live;
        match (self.progress()?, id(live)?) {
            (Progress::Put, _) => self.files.sync_folder(),
            (Progress::Taken, Some(live_id)) if self.keeps_other_than(live_id)? => self.unmark(),
            (Progress::Taken, _) => Err(self.files.lost()),
            (_, None) if self.replaces => Err(self.changed("vanished")),
            (_, None) => self.put_new(),
            (_, Some(_)) if !self.replaces => Err(self.changed("appeared")),
            (Progress::InPlace, _) => self.switch_in_place(),
            (Progress::Staged, _) => {
                self.unmark()?;
                if self.force && !self.users()?.is_empty() {
                    self.switch_in_place()
                } else {
                    self.switch_by_rename()
                }
            }
        }
    }

    /// Whether something was kept, and is not what lies there now.
    fn keeps_other_than(&self, live_id: FileId) -> Result<bool, SourceError> {
        Ok(id(&self.files.old)?.is_some_and(|old| old != live_id))
    }

    fn changed(&self, how: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Occupied,
            format!("{} {how} while it was restored", self.files.live.display()),
        )
    }

    /// How far the switch has come, by what lies there.
    fn progress(&self) -> Result<Progress, SourceError> {
        let Files { live, new, old } = &self.files;
        let old_id = id(old)?;
        let Some(new_id) = id(new)? else {
            return Ok(Progress::Taken);
        };
        if !self.replaces && id(live)? == Some(new_id) {
            return Ok(Progress::Put);
        }
        let live_id = id(live)?;
        if old_id.is_none() || old_id == live_id {
            return Ok(Progress::Staged);
        }
        let mark_id = id(&self.files.mark())?;
        if mark_id.is_some() && (live_id.is_none() || live_id == mark_id) {
            return Ok(Progress::InPlace);
        }
        Err(self.replaced())
    }

    /// What lies at L is nothing that this restore knows: neither may it be written over, nor O be thrown away.
    pub(super) fn replaced(&self) -> SourceError {
        let Files { live, old, .. } = &self.files;
        SourceError::new(
            SourceErrorKind::Occupied,
            format!(
                "{} was replaced by somebody else while it was restored; what was there before is {}: remove that one if the other is to stay",
                live.display(),
                old.display()
            ),
        )
    }

    /// There is no database to replace, but perhaps a log or journal without one.
    fn put_new(&self) -> Result<(), SourceError> {
        let Files { live, new, .. } = &self.files;
        self.move_sides_away()?;
        self.files.sync_folder()?;
        self.steps.done("sides synced");
        put(new, live).map_err(|e| io_failure("cannot put in place", new, e))?;
        self.steps.done("renamed");
        self.files.sync_folder()
    }

    fn switch_by_rename(&self) -> Result<(), SourceError> {
        let Files { live, new, old } = &self.files;
        let (lock, rest) = self.rest_and_lock()?;
        if id(old)?.is_none() {
            fs::hard_link(live, old).map_err(|e| io_failure("cannot keep", live, e))?;
            self.steps.done("linked");
        }
        self.files.sync_folder()?;
        self.steps.done("link synced");
        self.clear_sides(rest)?;
        rename(new, live)?;
        self.steps.done("renamed");
        self.files.sync_folder()?;
        self.steps.done("synced");
        lock.wait_for_latecomers(live);
        Ok(())
    }

    /// Brings back what was there, from wherever the restore had come to.
    pub(super) fn rollback(&self, phase: Phase) -> Result<(), SourceError> {
        let Files { live, old, .. } = &self.files;
        self.files.remove_copy()?;
        let (live_id, old_id) = (id(live)?, id(old)?);
        let is_kept = old_id.is_some() && old_id != live_id;
        match self.progress()? {
            Progress::InPlace if live_id.is_none() => self.roll_back_by_rename(false)?,
            Progress::InPlace => self.roll_back_in_place(true)?,
            Progress::Taken if is_kept && self.force && !self.users()?.is_empty() => {
                self.roll_back_in_place(false)?;
            }
            Progress::Taken if is_kept => self.roll_back_by_rename(live_id.is_some())?,
            Progress::Put => self.remove_live()?,
            Progress::Taken if !self.replaces && phase >= Phase::Switching && live_id.is_some() => {
                return Err(SourceError::new(
                    SourceErrorKind::Occupied,
                    format!(
                        "nothing shows any more that {} is what was restored: remove it yourself",
                        live.display()
                    ),
                ));
            }
            Progress::Staged | Progress::Taken => remove(old)?,
        }
        if self.replaces || id(live)?.is_none() {
            self.move_sides_back()?;
        }
        self.files.remove_new()?;
        self.unmark()
    }

    fn roll_back_by_rename(&self, live_exists: bool) -> Result<(), SourceError> {
        let Files { live, old, .. } = &self.files;
        let lock = if live_exists {
            Some(self.rest_and_lock()?.0)
        } else {
            None
        };
        // Without L too: its log may have stayed, and is none of the old database.
        self.remove_sides()?;
        rename(old, live)?;
        self.steps.done("renamed back");
        self.files.sync_folder()?;
        if let Some(lock) = lock {
            lock.wait_for_latecomers(live);
        }
        Ok(())
    }

    /// Takes a database away that the switch had put where none was, and no other.
    fn remove_live(&self) -> Result<(), SourceError> {
        let (lock, _rest) = self.rest_and_lock()?;
        if id(&self.files.new)? != Some(lock.id) {
            return Err(self.changed("was replaced by somebody else"));
        }
        self.remove_sides()?;
        remove(&self.files.live)?;
        self.steps.done("removed");
        Ok(())
    }

    /// Removes what the switch had kept.
    pub(super) fn discard(&self) -> Result<(), SourceError> {
        self.files.remove_copy()?;
        // Where there was no database, this was the second name of the one that is there now.
        self.files.remove_new()?;
        for side in side_files(&self.files.old) {
            remove(&side)?;
        }
        remove(&self.files.old)?;
        self.unmark()
    }

    /// Takes the mark of an overwriting away, and makes this and what was done before last.
    pub(super) fn unmark(&self) -> Result<(), SourceError> {
        self.files.sync_folder()?;
        remove(&self.files.mark())?;
        self.files.sync_folder()
    }

    fn users(&self) -> Result<Vec<String>, SourceError> {
        let live = &self.files.live;
        let users = id(live)?.map(|id| lock::holders(id, live));
        Ok(users.unwrap_or_default())
    }

    /// Brings the live file to rest and locks it so that it stays there.
    fn rest_and_lock(&self) -> Result<(ExclusiveLock, Rest), SourceError> {
        let live = &self.files.live;
        for _ in 0..ATTEMPTS {
            self.wait_until_closed()?;
            let rest = client::bring_to_rest(live, self.busy)?;
            self.steps.done("at rest");
            let lock = ExclusiveLock::take(live, self.busy)?;
            // Between the two a process may have come, written, and gone.
            let is_same = id(live)? == Some(lock.id);
            if is_same && (rest == Rest::Damaged || sides_hold_nothing(live)?) {
                return Ok((lock, rest));
            }
        }
        Err(Hindrance::in_use(live, &[]))
    }

    /// Frees the name of everything that belongs to the database that lies there now, which stays as O.
    fn clear_sides(&self, rest: Rest) -> Result<(), SourceError> {
        match rest {
            Rest::Complete => self.remove_sides(),
            Rest::Damaged => {
                self.move_sides_away()?;
                self.files.sync_folder()
            }
        }
    }

    fn remove_sides(&self) -> Result<(), SourceError> {
        for side in side_files(&self.files.live) {
            remove(&side)?;
            self.steps.done("side removed");
        }
        self.files.sync_folder()?;
        self.steps.done("sides synced");
        Ok(())
    }

    fn move_sides_away(&self) -> Result<(), SourceError> {
        self.move_sides(&self.files.live, &self.files.old)
    }

    fn move_sides_back(&self) -> Result<(), SourceError> {
        self.move_sides(&self.files.old, &self.files.live)
    }

    fn move_sides(&self, from: &Path, to: &Path) -> Result<(), SourceError> {
        for suffix in ["-wal", "-journal"] {
            let (from, to) = (beside(from, suffix), beside(to, suffix));
            if id(&from)?.is_some() && id(&to)?.is_none() {
                rename(&from, &to)?;
                self.steps.done("side moved");
            }
        }
        // An index of a log is made anew by whoever opens the log.
        remove(&beside(from, "-shm"))
    }
}

/// How far a switch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// N is there, and L is what it was.
    Staged,
    /// N is there, and L may be the old or the new content: O holds the old one.
    InPlace,
    /// N is gone.
    Taken,
    /// L is N: it was put where there was nothing.
    Put,
}

/// Nobody else may read or write the file, by SQLite's own rules, while this is held.
struct ExclusiveLock {
    file: File,
    id: FileId,
}

impl ExclusiveLock {
    fn take(path: &Path, busy: Duration) -> Result<Self, SourceError> {
        let fail = |e| io_failure("cannot lock", path, e);
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(fail)?;
        let deadline = Instant::now() + busy;
        // The first lock keeps new readers out, so that the second becomes free.
        for range in [DATABASE_PENDING, DATABASE_ALL] {
            while !lock::try_exclusive(&file, range).map_err(fail)? {
                if Instant::now() >= deadline {
                    return Err(Hindrance::in_use(path, &[]));
                }
                lock::pause(RETRY);
            }
        }
        let id = FileId::of_file(&file).map_err(fail)?;
        Ok(Self { file, id })
    }

    /// A process that had opened the old file just before the rename waits for this lock, and would then take the
    /// new database's log for its own. It gets a while to give up.
    fn wait_for_latecomers(self, path: &Path) {
        let deadline = Instant::now() + LATECOMERS;
        let is_held = || !lock::holders(self.id, path).is_empty();
        while is_held() && Instant::now() < deadline {
            lock::pause(RETRY);
        }
        drop(self.file);
    }
}

/// Gives a file a second name where nothing is: the first goes on telling which file was put there.
fn put(new: &Path, live: &Path) -> io::Result<()> {
    match rustix::fs::link(new, live) {
        // Some file systems have no second names: there a rollback cannot tell, and refuses.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
            Ok(renameat_with(CWD, new, CWD, live, RenameFlags::NOREPLACE)?)
        }
        linked => Ok(linked?),
    }
}

/// Whether no transaction waits in a log or journal beside a database.
fn sides_hold_nothing(path: &Path) -> Result<bool, SourceError> {
    let log = beside(path, "-wal");
    let log_bytes = fs::metadata(&log).map_or(0, |meta| meta.len());
    let journal = beside(path, "-journal");
    let mut first = [0];
    let is_hot = match File::open(&journal) {
        Ok(file) => {
            let count = file.read_at(&mut first, 0);
            count.map_err(|e| io_failure("cannot read", &journal, e))? == 1 && first != [0]
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(io_failure("cannot read", &journal, error)),
    };
    Ok(log_bytes == 0 && !is_hot)
}
