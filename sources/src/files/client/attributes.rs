//! Owner, mode, times and extended attributes of entries that are open or named in an open folder.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::Folder;

/// Extended attributes by their full names.
pub(in crate::files) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kernel allows no longer list and no longer value.
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Extended attributes of an open file or folder.
pub(in crate::files) fn own_xattrs(fd: impl AsFd) -> io::Result<Xattrs> {
    collect(
        |buffer| fs::flistxattr(&fd, buffer),
        |name, buffer| fs::fgetxattr(&fd, name, buffer),
    )
}

/// Extended attributes of a named entry that cannot be opened, or need not be.
pub(in crate::files) fn xattrs_of(folder: &Folder, name: &[u8]) -> io::Result<Xattrs> {
    let path = folder.path_of(name);
    collect(
        |buffer| fs::llistxattr(&path, buffer),
        |name, buffer| fs::lgetxattr(&path, name, buffer),
    )
}

impl Folder {
    /// Sets one extended attribute of a named entry that cannot be opened.
    pub(in crate::files) fn set_xattr_of(
        &self,
        entry: &[u8],
        name: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        let path = self.path_of(entry);
        Ok(fs::lsetxattr(&path, name, value, XattrFlags::empty())?)
    }

    /// Removes one extended attribute of a named entry that cannot be opened.
    pub(in crate::files) fn remove_xattr_of(&self, entry: &[u8], name: &[u8]) -> io::Result<()> {
        Ok(fs::lremovexattr(self.path_of(entry), name)?)
    }

    /// Gives a named entry to an owner; a link itself, not what it points to.
    pub(in crate::files) fn set_owner_of(
        &self,
        name: &[u8],
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(fs::chownat(self, name, user(uid), group(gid), flags)?)
    }

    /// Sets the mode of a pipe or device that was just made here. Goes through a handle on that very entry, so
    /// that a link which took its place is not followed.
    pub(in crate::files) fn set_mode_of(&self, name: &[u8], mode: u32) -> io::Result<()> {
        let flags = fs::OFlags::PATH | fs::OFlags::NOFOLLOW | fs::OFlags::CLOEXEC;
        let node = fs::openat(self, name, flags, Mode::empty())?;
        if fs::FileType::from_raw_mode(fs::fstat(&node)?.st_mode).is_symlink() {
            return Err(Errno::LOOP.into());
        }
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
    }

    /// Sets the modification time of a named entry; of a link itself, not of what it points to.
    pub(in crate::files) fn set_mtime_of(&self, name: &[u8], mtime_ns: i64) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(fs::utimensat(self, name, &only_mtime(mtime_ns), flags)?)
    }
}

/// Gives an open file or folder to an owner.
pub(in crate::files) fn set_owner(
    fd: impl AsFd,
    uid: Option<u32>,
    gid: Option<u32>,
) -> io::Result<()> {
    Ok(fs::fchown(fd, user(uid), group(gid))?)
}

/// Sets the permission bits of an open file or folder.
pub(in crate::files) fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    Ok(fs::fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// Sets the modification time of an open file or folder.
pub(in crate::files) fn set_mtime(fd: impl AsFd, mtime_ns: i64) -> io::Result<()> {
    Ok(fs::futimens(fd, &only_mtime(mtime_ns))?)
}

/// Sets one extended attribute of an open file or folder.
pub(in crate::files) fn set_xattr(fd: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fs::fsetxattr(fd, name, value, XattrFlags::empty())?)
}

/// Removes one extended attribute of an open file or folder.
pub(in crate::files) fn remove_xattr(fd: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(fs::fremovexattr(fd, name)?)
}

fn collect(
    mut list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
    mut get: impl FnMut(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Xattrs> {
    let mut xattrs = Xattrs::new();
    let names = match read_growing(&mut list) {
        // No attributes on this file system, or no /proc to ask through.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOENT) => return Ok(xattrs),
        names => names?,
    };
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        match read_growing(&mut |buffer: &mut [u8]| get(name, buffer)) {
            Ok(value) => drop(xattrs.insert(name.to_vec(), value)),
            // Gone since it was listed, or not ours to read (`trusted.*`).
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(xattrs)
}

fn read_growing(
    read: &mut dyn FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 512];
    match read(&mut small) {
        Err(Errno::RANGE) => {}
        length => return Ok(small.get(..length?).unwrap_or_default().to_vec()),
    }
    let mut large = vec![0; XATTR_BYTES_MAX];
    let length = read(&mut large)?;
    large.truncate(length);
    Ok(large)
}

fn only_mtime(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    }
}

/// The number of all ones means "leave as it is" to the kernel and is nobody's number.
fn user(uid: Option<u32>) -> Option<Uid> {
    uid.filter(|uid| *uid != u32::MAX).map(Uid::from_raw)
}

fn group(gid: Option<u32>) -> Option<Gid> {
    gid.filter(|gid| *gid != u32::MAX).map(Gid::from_raw)
}
