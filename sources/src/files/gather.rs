//! Gathering: the facts of each entry of a batch, and the content of small files ahead of the one thread that
//! emits. Several threads gather; the order is kept by whoever waits for their answers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Attributes, FileIdentity, Meta, NodeKind};

use super::client::{self, Accounts, FileKind, Folder, Powers, Stat, Xattrs};
use super::walk::{Batch, Entry, Role, lost};

/// Largest file that is read ahead.
const AHEAD_FILE_BYTES: u64 = 256 * 1024;
/// Most content that waits to be emitted.
const AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// Files that say they are empty may not be (`/proc`): this much is read of them.
const UNSIZED_BYTES: u64 = 64 * 1024 * 1024;
/// Two changes closer together than this may leave the same stamp.
const TICK_NS: i64 = 10_000_000;
/// A file system that stamps whole seconds may give one stamp to two changes this far apart.
const COARSE_TICK_NS: i64 = 2 * SECOND_NS;
const SECOND_NS: i64 = 1_000_000_000;
/// How long one capture waits for stamps to settle, all in all.
const SETTLE_NS: i64 = 1_000_000_000;

/// What is known of one entry, ready to be emitted.
#[derive(Debug)]
pub(super) enum Found {
    /// Anything without content.
    Entry(RepoPath, NodeKind, Meta, Attributes),
    /// A regular file.
    File(FoundFile),
    /// It is not in the capture, or not as it should be: why.
    Lost(RepoPath, String),
}

/// A regular file and either its content or where to read it.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub path: RepoPath,
    pub meta: Meta,
    pub stat: Stat,
    pub content: Ahead,
}

/// Content of a file, as far as it was read ahead.
#[derive(Debug)]
pub(super) enum Ahead {
    /// All of it, and whether it changed meanwhile.
    Read(Vec<u8>, bool),
    /// Nothing yet: the folder to open it in.
    Unread(Arc<Folder>),
}

/// What the threads of one capture share.
#[derive(Debug)]
pub(super) struct Gatherer<'a> {
    accounts: &'a Accounts,
    powers: &'a Powers,
    larger_than_bytes: Option<u64>,
    /// Roots, and roots in those, each in order.
    roots: [&'a [RepoPath]; 2],
    reading_ahead: AtomicBool,
    waiting_bytes: AtomicUsize,
    settling_ns: AtomicI64,
}

impl<'a> Gatherer<'a> {
    /// Shared by all threads of one capture.
    pub(super) fn new(
        accounts: &'a Accounts,
        powers: &'a Powers,
        larger_than_bytes: Option<u64>,
        roots: [&'a [RepoPath]; 2],
    ) -> Self {
        Self {
            accounts,
            powers,
            larger_than_bytes,
            roots,
            reading_ahead: AtomicBool::new(false),
            waiting_bytes: AtomicUsize::new(0),
            settling_ns: AtomicI64::new(SETTLE_NS),
        }
    }

    /// Turns reading ahead on while files are new, off while they are taken unread from the parent.
    pub(super) fn read_ahead(&self, wanted: bool) {
        self.reading_ahead.store(wanted, Ordering::Relaxed);
    }

    /// Makes room: what had been read ahead of this file was emitted.
    pub(super) fn make_room(&self, stat: &Stat) {
        self.waiting_bytes.fetch_sub(room(stat), Ordering::Relaxed);
    }

    /// Looks at every entry of a batch.
    pub(super) fn gather(&self, batch: Batch) -> Vec<Found> {
        batch
            .entries
            .into_iter()
            .filter_map(|entry| self.look_at(entry))
            .collect()
    }

    fn look_at(&self, Entry { path, role }: Entry) -> Option<Found> {
        let folder = match role {
            Role::Named(folder) => folder,
            Role::Folder(stat, xattrs, extent) => {
                let meta = self.meta(&stat, xattrs);
                return Some(Found::Entry(
                    path,
                    NodeKind::Dir,
                    meta,
                    extent.to_attributes(),
                ));
            }
            Role::Lost(reason) => return Some(Found::Lost(path, reason)),
        };
        let name = path.name().unwrap_or_default();
        let found = folder.stat(name).and_then(|stat| match stat.kind {
            FileKind::File => self.file(&path, folder, stat),
            _ => self.node(&path, &folder, &stat).map(Some),
        });
        found.unwrap_or_else(|error| Some(Found::Lost(path, lost(&error))))
    }

    fn node(&self, path: &RepoPath, folder: &Folder, stat: &Stat) -> io::Result<Found> {
        let name = path.name().unwrap_or_default();
        let (major, minor) = stat.node;
        let kind = match stat.kind {
            FileKind::Link => NodeKind::Link(folder.link_target(name)?),
            FileKind::Fifo => NodeKind::Fifo,
            FileKind::Socket => NodeKind::Socket,
            FileKind::BlockDevice => NodeKind::BlockDevice(major, minor),
            FileKind::CharDevice => NodeKind::CharDevice(major, minor),
            // It was no folder when the name was listed.
            FileKind::Dir | FileKind::File => return Err(io::ErrorKind::NotFound.into()),
        };
        let meta = self.meta(stat, client::xattrs_of(folder, name)?);
        Ok(Found::Entry(path.clone(), kind, meta, Attributes::new()))
    }

    fn file(&self, path: &RepoPath, folder: Arc<Folder>, stat: Stat) -> io::Result<Option<Found>> {
        let is_larger = |most| stat.size_bytes > most;
        if self.larger_than_bytes.is_some_and(is_larger) && !self.is_root(path) {
            return Ok(None);
        }
        let name = path.name().unwrap_or_default();
        let (stat, settled) = self.settle(&folder, name, stat)?;
        // A further name of the same file is not read again; who emits knows which name was the first.
        let small = (1..=AHEAD_FILE_BYTES).contains(&stat.size_bytes) && stat.links == 1;
        let (xattrs, content) = if small && self.claim_room(&stat) {
            match self.read_small(&folder, name, &stat) {
                Ok((xattrs, bytes, changed)) => (xattrs, Ahead::Read(bytes, changed)),
                Err(error) => {
                    self.make_room(&stat);
                    return Err(error);
                }
            }
        } else {
            (client::xattrs_of(&folder, name)?, Ahead::Unread(folder))
        };
        let mut meta = self.meta(&stat, xattrs);
        meta.sparse = stat.allocated_bytes < stat.size_bytes;
        meta.identity = settled.then_some(FileIdentity {
            size_bytes: stat.size_bytes,
            ctime_ns: stat.ctime_ns,
            inode: stat.inode,
        });
        let path = path.clone();
        Ok(Some(Found::File(FoundFile {
            path,
            meta,
            stat,
            content,
        })))
    }

    /// A file that changes right after it was read may keep its stamp, and the next capture would take it for
    /// unchanged. So a file stamped just now is read only when the clock has moved on.
    fn settle(&self, folder: &Folder, name: &[u8], stat: Stat) -> io::Result<(Stat, bool)> {
        let mut stat = stat;
        loop {
            let age_ns = client::file_clock_ns().saturating_sub(stat.ctime_ns);
            if !(-TICK_NS..TICK_NS).contains(&age_ns) {
                return Ok((stat, is_settled(stat.ctime_ns, age_ns)));
            }
            let wait_ns = TICK_NS - age_ns.max(0);
            if self.settling_ns.fetch_sub(wait_ns, Ordering::Relaxed) < wait_ns {
                return Ok((stat, false));
            }
            client::wait_ns(wait_ns);
            stat = folder.stat(name)?;
        }
    }

    fn is_root(&self, path: &RepoPath) -> bool {
        let mut roots = self.roots.iter();
        roots.any(|roots| roots.binary_search(path).is_ok())
    }

    fn claim_room(&self, stat: &Stat) -> bool {
        if !self.reading_ahead.load(Ordering::Relaxed) {
            return false;
        }
        let waiting = self.waiting_bytes.fetch_add(room(stat), Ordering::Relaxed);
        let claimed = waiting < AHEAD_BYTES;
        if !claimed {
            self.make_room(stat);
        }
        claimed
    }

    fn read_small(
        &self,
        folder: &Folder,
        name: &[u8],
        stat: &Stat,
    ) -> io::Result<(Xattrs, Vec<u8>, bool)> {
        let file = folder.open_file(name, stat, self.powers)?;
        let xattrs = client::own_xattrs(&file)?;
        let length = room(stat);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length && file.read_more(&mut bytes)? > 0 {}
        bytes.truncate(length);
        let changed = !stat.same_content(&file.stat()?);
        Ok((xattrs, bytes, changed))
    }

    fn meta(&self, stat: &Stat, xattrs: Xattrs) -> Meta {
        Meta {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: self.accounts.user(stat.uid),
            group: self.accounts.group(stat.gid),
            mtime_ns: stat.mtime_ns,
            xattrs,
            ..Meta::default()
        }
    }
}

/// How much of a file is read: what it had when it was looked at. More may be appended meanwhile without end.
pub(super) fn length_to_read(stat: &Stat) -> u64 {
    if stat.size_bytes == 0 {
        UNSIZED_BYTES
    } else {
        stat.size_bytes
    }
}

/// Whether a stamp older than a tick tells that nothing more can happen under it. Where whole seconds are stamped it
/// is not awaited: the file is only read again the next time.
fn is_settled(ctime_ns: i64, age_ns: i64) -> bool {
    let is_whole = ctime_ns % SECOND_NS == 0;
    !is_whole || !(-COARSE_TICK_NS..COARSE_TICK_NS).contains(&age_ns)
}

/// The room that a small file takes while it waits.
fn room(stat: &Stat) -> usize {
    usize::try_from(stat.size_bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_whole_seconds_settles_later() {
        let (whole, fine) = (1_700_000_000 * SECOND_NS, 1_700_000_000 * SECOND_NS + 4);
        for (ctime_ns, age_ns, expected) in [
            (fine, TICK_NS, true),
            (fine, -TICK_NS, true),
            (whole, TICK_NS, false),
            (whole, SECOND_NS - 1, false),
            (whole, -SECOND_NS, false),
            (whole, COARSE_TICK_NS, true),
            (whole, -COARSE_TICK_NS - 1, true),
        ] {
            assert_eq!(
                is_settled(ctime_ns, age_ns),
                expected,
                "{ctime_ns} {age_ns}"
            );
        }
    }
}
