//! Facts of an entry as a restore may set them, and setting them in an order that never shows a secret.
//!
//! Owner first (it clears dangerous bits), then attributes, then the mode, then the time. Where the group or an
//! access control list cannot be set, the group gets no more than everybody: nothing is wider than recorded.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Meta, NodeKind};

use super::client::{self, Folder, Powers, Stat, Xattrs};
use super::ledger::lock;
use super::plan::OnDisk;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
pub(super) const ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Facts that a restore sets on one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub mode: u32,
    /// None: stays as it is made.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime_ns: Option<i64>,
    pub xattrs: Xattrs,
    /// Whether attributes outside the reach of users are set and removed too.
    pub privileged: bool,
    /// Mode, owner and group as they were recorded.
    recorded: Option<(u32, u32, u32)>,
    /// Whether they are so on disk and stay, even where they could not be set.
    stays: bool,
    lacks: Lacks,
}

/// What of the recorded facts may not be set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lacks {
    owner: bool,
    group: bool,
    special_bits: bool,
}

/// Counts what a restore did otherwise than recorded, for one sentence each.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub owners: AtomicUsize,
    pub groups: AtomicUsize,
    pub special_bits: AtomicUsize,
    pub devices: Names,
    pub sockets: Names,
    pub held_xattrs: AtomicUsize,
    pub failed_xattrs: AtomicUsize,
    pub unknown_excludes: AtomicBool,
    pub spared: AtomicUsize,
}

impl Notes {
    /// One sentence for each thing that happened.
    pub(super) fn sentences(&self) -> Vec<String> {
        let rows = [
            (&self.owners, "owners that could not be set"),
            (
                &self.groups,
                "groups that could not be set, and whose permissions were cut",
            ),
            (
                &self.special_bits,
                "entries without set-user-id or set-group-id bits, which need --privileged",
            ),
            (
                &self.held_xattrs,
                "entries without attributes that need --privileged",
            ),
            (
                &self.failed_xattrs,
                "entries without attributes that cannot be set here",
            ),
            (
                &self.spared,
                "entries that stay, since they were not captured on purpose",
            ),
        ];
        let counted = rows
            .iter()
            .map(|(count, what)| (count.load(Ordering::Relaxed), what));
        let mut sentences: Vec<_> = counted
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{what}: {count}"))
            .collect();
        let named = [
            (&self.devices, "devices left out, which need --privileged"),
            (&self.sockets, "sockets left out"),
        ];
        sentences.extend(
            named
                .iter()
                .filter_map(|(names, what)| names.sentence(what)),
        );
        if self.unknown_excludes.load(Ordering::Relaxed) {
            let sentence = "nothing is deleted: the capture does not say what it left out";
            sentences.push(sentence.into());
        }
        sentences
    }
}

/// Entries that were left out: how many, and the first of them by name.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<(usize, Vec<String>)>);

/// Names that are told; of more the number tells enough.
const NAMES_TOLD: usize = 10;

impl Names {
    /// Takes the next one.
    pub(super) fn add(&self, path: &RepoPath) {
        let mut names = lock(&self.0);
        names.0 += 1;
        if names.1.len() < NAMES_TOLD {
            names.1.push(format!("/{path}"));
        }
    }

    fn sentence(&self, what: &str) -> Option<String> {
        let names = lock(&self.0);
        let (count, first) = &*names;
        let more = if *count > first.len() { ", …" } else { "" };
        (*count > 0).then(|| format!("{what}: {count} ({}{more})", first.join(", ")))
    }
}

/// Adds one to a count.
pub(super) fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Wanted {
    /// What may be set of what was recorded.
    pub(super) fn of(
        meta: &Meta,
        kind: &NodeKind,
        powers: &Powers,
        privileged: bool,
        notes: &Notes,
    ) -> Self {
        if *meta == Meta::default() {
            // A stream of a database: nothing of a file was recorded.
            let mode = if *kind == NodeKind::Dir { 0o700 } else { 0o600 };
            return Self {
                mode,
                ..Self::default()
            };
        }
        let is_dir = *kind == NodeKind::Dir;
        let uid = (powers.root || meta.uid == powers.uid).then_some(meta.uid);
        let gid = (powers.root || powers.groups.contains(&meta.gid)).then_some(meta.gid);
        let mut mode = meta.mode & 0o7777;
        let special = mode & (SET_USER_ID | if is_dir { 0 } else { SET_GROUP_ID });
        let lacks = Lacks {
            owner: uid.is_none(),
            group: gid.is_none(),
            special_bits: special != 0 && !(privileged && uid.is_some() && gid.is_some()),
        };
        if lacks.special_bits {
            mode &= !special;
        }
        if lacks.group {
            mode = narrowed(mode);
        }
        let mut xattrs = meta.xattrs.clone();
        xattrs.retain(|name, _| is_settable(name, privileged));
        if xattrs.len() < meta.xattrs.len() {
            count(&notes.held_xattrs);
        }
        Self {
            mode,
            uid,
            gid,
            mtime_ns: Some(meta.mtime_ns),
            xattrs,
            privileged,
            recorded: Some((meta.mode & 0o7777, meta.uid, meta.gid)),
            stays: false,
            lacks,
        }
    }

    /// Lets an entry of the right kind and content keep its owner, group and mode if they are those that were
    /// recorded: nothing is taken from it, and nothing given to it, that was not its own.
    pub(super) fn stay_as(&mut self, on_disk: &OnDisk) {
        let (stat, is_link) = (&on_disk.stat, on_disk.stat.kind == client::FileKind::Link);
        self.stays = self.recorded.is_some_and(|(mode, uid, gid)| {
            (uid, gid) == (stat.uid, stat.gid) && (mode == stat.mode || is_link)
        }) && self.xattrs.get(ACL) == on_disk.xattrs.get(ACL);
    }

    /// It does not stay after all. Answers whether that is news.
    pub(super) fn make_anew(&mut self) -> bool {
        std::mem::take(&mut self.stays)
    }

    /// Counts what could not be as recorded.
    pub(super) fn tell(&self, notes: &Notes) {
        let rows = [
            (self.lacks.owner, &notes.owners),
            (self.lacks.group, &notes.groups),
            (self.lacks.special_bits, &notes.special_bits),
        ];
        let lacking = rows.iter().filter(|(lacks, _)| *lacks && !self.stays);
        lacking.for_each(|(_, counter)| count(counter));
    }

    /// The mode of an open entry that still is as it was recorded. A folder may have been opened to its owner meanwhile.
    fn staying_mode(&self, now: &Stat) -> Option<u32> {
        let (mode, uid, gid) = self.recorded.filter(|_| self.stays)?;
        let is_dir = now.kind == client::FileKind::Dir;
        let opened = if is_dir { 0o700 } else { 0 };
        let same = (uid, gid) == (now.uid, now.gid) && mode | opened == now.mode | opened;
        same.then_some(mode)
    }

    /// Whether an entry of the right kind and content has other facts.
    pub(super) fn differs(&self, on_disk: &OnDisk) -> bool {
        let stat = &on_disk.stat;
        let counts = |name: &Vec<u8>| self.removes(name) || self.xattrs.contains_key(name);
        let theirs = on_disk.xattrs.iter().filter(|(name, _)| counts(name));
        let is_link = stat.kind == client::FileKind::Link;
        (self.mode != stat.mode && !is_link && !self.stays)
            || self.uid.is_some_and(|uid| uid != stat.uid)
            || self.gid.is_some_and(|gid| gid != stat.gid)
            || self
                .mtime_ns
                .is_some_and(|mtime_ns| mtime_ns != stat.mtime_ns)
            || !theirs.eq(self.xattrs.iter())
    }

    /// Sets everything on an open file or folder.
    pub(super) fn dress(&self, fd: impl AsFd, notes: &Notes) -> io::Result<()> {
        let mode = self.dress_but_mode(&fd, notes)?;
        set_mode(&fd, mode)?;
        match self.mtime_ns {
            Some(mtime_ns) => client::set_mtime(&fd, mtime_ns),
            None => Ok(()),
        }
    }

    /// Before anything is set on a file that exists: takes away what its mode gives and should not.
    pub(super) fn close_file(&self, fd: impl AsFd) -> io::Result<()> {
        let now = client::stat_open(&fd)?;
        match self.staying_mode(&now) {
            Some(_) => Ok(()),
            None => client::set_mode(&fd, now.mode & self.mode),
        }
    }

    /// Before anything is put into a folder that exists: takes away what its mode gives and should not.
    pub(super) fn close_folder(&self, folder: &Folder, notes: &Notes) -> io::Result<()> {
        let now = folder.stat_self()?.mode;
        let mode = self.dress_but_mode(folder, notes)?;
        set_mode(folder, (now & mode) | 0o700)
    }

    /// Sets owner and attributes. Answers the mode that is safe with what could be set.
    fn dress_but_mode(&self, fd: impl AsFd, notes: &Notes) -> io::Result<u32> {
        let mut mode = self.mode;
        let now = client::stat_open(&fd)?;
        let moves = self.uid.is_some_and(|uid| uid != now.uid)
            || self.gid.is_some_and(|gid| gid != now.gid);
        // Setting the owner that it has would take special bits and capabilities away.
        if moves {
            match client::set_owner(&fd, self.uid, self.gid) {
                Err(error) if is_refusal(&error) => {
                    count(&notes.owners);
                    mode = narrowed(mode) & !(SET_USER_ID | SET_GROUP_ID);
                }
                set => set?,
            }
        }
        if !self.dress_xattrs(&fd, notes)? {
            return Ok(narrowed(mode));
        }
        let staying = self.staying_mode(&client::stat_open(&fd)?);
        Ok(staying.filter(|_| !moves).unwrap_or(mode))
    }

    /// Makes the attributes equal. Answers false if an access control list could not be set.
    fn dress_xattrs(&self, fd: impl AsFd, notes: &Notes) -> io::Result<bool> {
        let present = client::own_xattrs(&fd)?;
        let mut failed = false;
        let mut has_acl = true;
        for name in present.keys() {
            // One that a folder above handed down, or that was there before.
            if self.removes(name) && !self.xattrs.contains_key(name) {
                failed |= client::remove_xattr(&fd, name).is_err();
            }
        }
        for (name, value) in &self.xattrs {
            if present.get(name) != Some(value) && client::set_xattr(&fd, name, value).is_err() {
                failed = true;
                has_acl &= name != ACL;
            }
        }
        if failed {
            count(&notes.failed_xattrs);
        }
        Ok(has_acl)
    }

    /// Whether an attribute that was not recorded is taken away. The labels of security modules are theirs.
    fn removes(&self, name: &[u8]) -> bool {
        let of_system = name.starts_with(b"trusted.") || name == b"security.capability";
        is_settable(name, false) || (self.privileged && of_system)
    }

    /// Sets everything on a link, pipe or device that was just made under a temporary name.
    pub(super) fn dress_named(
        &self,
        folder: &Folder,
        name: &[u8],
        is_link: bool,
        notes: &Notes,
    ) -> io::Result<()> {
        let mut mode = self.mode;
        if self.uid.is_some() || self.gid.is_some() {
            match folder.set_owner_of(name, self.uid, self.gid) {
                Err(error) if is_refusal(&error) => {
                    count(&notes.owners);
                    mode = narrowed(mode);
                }
                set => set?,
            }
        }
        if !self.dress_named_xattrs(folder, name) {
            count(&notes.failed_xattrs);
            mode = narrowed(mode);
        }
        if !is_link {
            folder.set_mode_of(name, mode)?;
        }
        match self.mtime_ns {
            Some(mtime_ns) => folder.set_mtime_of(name, mtime_ns),
            None => Ok(()),
        }
    }

    /// Makes the attributes of a named entry equal. Answers whether all of them are.
    fn dress_named_xattrs(&self, folder: &Folder, name: &[u8]) -> bool {
        let Ok(present) = client::xattrs_of(folder, name) else {
            return false;
        };
        let mut equal = true;
        for attribute in present.keys() {
            // The folder above may have handed an access control list down.
            if self.removes(attribute) && !self.xattrs.contains_key(attribute) {
                equal &= folder.remove_xattr_of(name, attribute).is_ok();
            }
        }
        for (attribute, value) in &self.xattrs {
            equal &= folder.set_xattr_of(name, attribute, value).is_ok();
        }
        equal
    }
}

/// Sets a mode that is another than now: setting the same one may take a bit away, or be refused.
fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    if client::stat_open(&fd)?.mode == mode {
        return Ok(());
    }
    client::set_mode(&fd, mode)
}

/// The group gets no more than everybody.
pub(super) fn narrowed(mode: u32) -> u32 {
    let everybody = mode & 0o007;
    mode & !(0o070 & !(everybody << 3))
}

/// Attributes that users set, and with leave those that only the system may.
fn is_settable(name: &[u8], privileged: bool) -> bool {
    if name.starts_with(b"user.") || name == ACL || name == DEFAULT_ACL {
        return true;
    }
    privileged
}

fn is_refusal(error: &io::Error) -> bool {
    // A number that a container does not know is an invalid argument.
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(mode: u32, uid: u32, gid: u32, powers: &Powers, privileged: bool) -> Wanted {
        let meta = Meta {
            mode,
            uid,
            gid,
            mtime_ns: 1,
            ..Meta::default()
        };
        Wanted::of(
            &meta,
            &NodeKind::File,
            powers,
            privileged,
            &Notes::default(),
        )
    }

    #[test]
    fn a_group_that_cannot_be_set_gets_no_more_than_everybody() {
        for (mode, expected) in [
            (0o640, 0o600),
            (0o644, 0o644),
            (0o664, 0o644),
            (0o750, 0o700),
            (0o755, 0o755),
            (0o770, 0o700),
            (0o600, 0o600),
            (0o1777, 0o1777),
        ] {
            assert_eq!(narrowed(mode), expected, "{mode:o}");
        }
    }

    #[test]
    fn special_bits_need_leave_and_the_right_owner() {
        let root = Powers {
            root: true,
            ..Powers::default()
        };
        let user = Powers {
            root: false,
            uid: 7,
            groups: [8].into(),
        };
        assert_eq!(wanted(0o6755, 1, 2, &root, false).mode, 0o755);
        assert_eq!(wanted(0o6755, 1, 2, &root, true).mode, 0o6755);
        assert_eq!(wanted(0o6755, 1, 8, &user, true).mode, 0o755);
        assert_eq!(wanted(0o6755, 7, 8, &user, true).mode, 0o6755);
        let other = wanted(0o640, 1, 2, &user, false);
        assert_eq!((other.mode, other.uid, other.gid), (0o600, None, None));
    }

    #[test]
    fn what_was_no_file_becomes_a_private_one() {
        let notes = Notes::default();
        let powers = Powers::default();
        let of = |kind| Wanted::of(&Meta::default(), &kind, &powers, false, &notes);
        assert_eq!(of(NodeKind::File).mode, 0o600);
        assert_eq!(of(NodeKind::Dir).mode, 0o700);
        assert_eq!(of(NodeKind::File).mtime_ns, None);
    }
}
