//! Exports: a capture as files that the source's own tools read, each under its final name only when it is whole.
#![expect(
    clippy::disallowed_methods,
    reason = "exports are files: this is where the engine writes them"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::source_failed;
use crate::error::{Error, Result};
use crate::path::RepoPath;
use crate::source::{Export, ExportSink, Items};

/// Buffer of an exported file, in bytes.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Writes an export below a folder; answers the names of its files.
pub fn export_to_folder(
    name: &str,
    items: &dyn Items,
    export: &dyn Export,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let mut out = FolderSink {
        folder: folder.into(),
        current: None,
        done: vec![],
    };
    let exported = export.export(items, &mut out);
    if let Err(error) = exported {
        out.drop_current();
        return Err(source_failed(name, error));
    }
    out.finish().map_err(|source| Error::Local {
        act: "write the export in",
        path: folder.display().to_string(),
        source,
    })
}

/// Writes all files of an export one after another.
pub fn export_to_writer(
    name: &str,
    items: &dyn Items,
    export: &dyn Export,
    out: &mut dyn io::Write,
) -> Result<()> {
    struct One<'a>(&'a mut dyn io::Write);
    impl ExportSink for One<'_> {
        fn file(&mut self, _name: &str) -> io::Result<&mut dyn io::Write> {
            Ok(self.0)
        }
    }
    export
        .export(items, &mut One(out))
        .map_err(|error| source_failed(name, error))
}

struct FolderSink {
    folder: PathBuf,
    current: Option<(PathBuf, PathBuf, BufWriter<File>)>,
    done: Vec<PathBuf>,
}

impl FolderSink {
    fn end_current(&mut self) -> io::Result<()> {
        if let Some((staged, path, mut writer)) = self.current.take() {
            writer.flush()?;
            writer.get_ref().sync_all()?;
            fs::rename(&staged, &path)?;
            self.done.push(path);
        }
        Ok(())
    }

    fn drop_current(&mut self) {
        if let Some((staged, _, _)) = self.current.take() {
            // It holds half an export; if it cannot go, its name says what it is.
            let _best_effort = fs::remove_file(staged);
        }
    }

    fn finish(mut self) -> io::Result<Vec<PathBuf>> {
        self.end_current()?;
        Ok(std::mem::take(&mut self.done))
    }
}

impl ExportSink for FolderSink {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        self.end_current()?;
        let checked = RepoPath::parse(name).map_err(io::Error::other)?;
        let path = self.folder.join(checked.to_string());
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent)?;
        let mut staged = path.clone().into_os_string();
        staged.push(".keepstone-part");
        let staged = PathBuf::from(staged);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staged)?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        let (_, _, writer) = self.current.insert((staged, path, writer));
        Ok(writer)
    }
}
