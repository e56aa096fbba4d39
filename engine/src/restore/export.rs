//! Exports: a capture as files that the source's own tools read, each under its final name only when it is whole.
#![expect(
    clippy::disallowed_methods,
    reason = "exports are files: this is where the engine writes them"
)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::source_failed;
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::path::RepoPath;
use crate::source::{Export, ExportSink, Items};

/// Buffer of an exported file, in bytes.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Writes an export into the folder of the source's name below `target`. Below `target` no link is followed: whoever may
/// write there does not choose where plain text goes.
pub fn export_to_folder(
    name: &str,
    items: &dyn Items,
    export: &dyn Export,
    target: &Path,
) -> Result<Vec<ExportedFile>> {
    let failed = |source| Error::Local {
        act: "write the export in",
        path: target.join(name).display().to_string(),
        source,
    };
    let mut out = FolderSink::open(target, name).map_err(failed)?;
    let exported = export.export(items, &mut out);
    if let Err(error) = exported {
        out.drop_current();
        return Err(source_failed(name, error));
    }
    out.finish().map_err(failed)
}

/// Writes one part of an export, or all files of one that has no parts one after another.
pub fn export_to_writer(
    name: &str,
    items: &dyn Items,
    export: &dyn Export,
    part: Option<&str>,
    out: &mut dyn io::Write,
) -> Result<()> {
    struct One<'a>(&'a mut dyn io::Write);
    impl ExportSink for One<'_> {
        fn file(&mut self, _name: &str) -> io::Result<&mut dyn io::Write> {
            Ok(self.0)
        }
    }
    let out = &mut One(out);
    match part {
        Some(part) => export.export_part(items, part, out),
        None => export.export(items, out),
    }
    .map_err(|error| source_failed(name, error))
}

struct FolderSink {
    folder: OwnedFd,
    /// The same, for people.
    path: PathBuf,
    current: Option<Current>,
    done: Vec<ExportedFile>,
}

/// The file that is being written.
struct Current {
    folder: OwnedFd,
    staged: String,
    path: PathBuf,
    /// Names in the same folder that nothing may bear.
    absent: Vec<Vec<u8>>,
    writer: BufWriter<File>,
}

impl FolderSink {
    fn open(target: &Path, name: &str) -> io::Result<Self> {
        let name = RepoPath::parse(name).map_err(io::Error::other)?;
        fs::create_dir_all(target)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, target, flags, Mode::empty())?;
        Ok(Self {
            folder: descend(&folder, target, &name)?,
            path: target.join(name.to_string()),
            current: None,
            done: vec![],
        })
    }

    fn end_current(&mut self) -> io::Result<()> {
        let Some(mut current) = self.current.take() else {
            return Ok(());
        };
        let ended = current.end();
        if ended.is_err() {
            current.remove();
        }
        self.done.push(ended?);
        Ok(())
    }

    fn drop_current(&mut self) {
        if let Some(current) = self.current.take() {
            current.remove();
        }
    }

    fn finish(mut self) -> io::Result<Vec<ExportedFile>> {
        self.end_current()?;
        Ok(self.done)
    }
}

impl Current {
    /// Gives the whole file its name. What bears that name is replaced and, if it is a link, not followed.
    fn end(&mut self) -> io::Result<ExportedFile> {
        self.writer.flush()?;
        let file = self.writer.get_ref();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let mut was_there = false;
        for name in &self.absent {
            match unlinkat(&self.folder, name.as_slice(), AtFlags::empty()) {
                Ok(()) => was_there = true,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if was_there {
            // Not even a power cut may leave the file beside them.
            rustix::fs::fsync(&self.folder)?;
        }
        let name = self.path.file_name().unwrap_or_default();
        renameat(&self.folder, &self.staged, &self.folder, name)?;
        Ok(ExportedFile {
            path: self.path.clone(),
            bytes,
        })
    }

    fn remove(&self) {
        // It holds half an export; if it cannot go, its name says what it is.
        let _best_effort = unlinkat(&self.folder, &self.staged, AtFlags::empty());
    }
}

impl ExportSink for FolderSink {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        self.end_current()?;
        let name = RepoPath::parse(name).map_err(io::Error::other)?;
        let parent = name.parent().unwrap_or_else(RepoPath::root);
        let folder = descend(&self.folder, &self.path, &parent)?;
        let staged = format!(".keepstone-part-{:016x}", u64::from_le_bytes(random::<8>()));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &staged, flags, Mode::RUSR | Mode::WUSR)?;
        let current = self.current.insert(Current {
            folder,
            staged,
            path: self.path.join(name.to_string()),
            absent: vec![],
            writer: BufWriter::with_capacity(BUFFER_BYTES, file.into()),
        });
        Ok(&mut current.writer)
    }

    fn absent(&mut self, name: &str) -> io::Result<()> {
        let path = RepoPath::parse(name).map_err(io::Error::other)?;
        let shown = self.path.join(path.to_string());
        let beside = |current: &&mut Current| current.path.parent() == shown.parent();
        match (self.current.as_mut().filter(beside), path.name()) {
            (Some(current), Some(name)) => {
                current.absent.push(name.to_vec());
                Ok(())
            }
            _ => Err(io::Error::other(format!("no file lies beside {name}"))),
        }
    }
}

/// Makes and opens the folders of a path, one after another and through no link. `above` is where they begin, for people.
fn descend(folder: &OwnedFd, above: &Path, path: &RepoPath) -> io::Result<OwnedFd> {
    let mut folder = folder.try_clone()?;
    let mut shown = above.to_path_buf();
    for component in path.components() {
        shown.push(String::from_utf8_lossy(component).as_ref());
        match mkdirat(&folder, component, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = match openat(&folder, component, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let text = format!("{} is no folder", shown.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
            }
            opened => opened?,
        };
    }
    Ok(folder)
}
