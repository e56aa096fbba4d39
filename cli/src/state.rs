//! Folders of ours: state and cache. Ours alone, and made so.
//!
//! The state folder holds who this writer is and what it saw last; whoever could write there could make us believe
//! in another repository. The cache can be lost at any time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keepstone_engine::id::WriterId;

use crate::error::CliError;

const WRITER_FILE: &str = "writer";

/// A folder that only we can read and write.
#[derive(Debug, Clone)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Makes the folder if it is missing, and refuses one that others can use.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |act, source| CliError::File {
            act,
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("make the folder", error))?;
        let metadata = fs::metadata(path).map_err(|error| failed("look at the folder", error))?;
        let us = rustix::process::geteuid().as_raw();
        if metadata.uid() != us {
            return Err(CliError::usage(format!(
                "the folder {} belongs to somebody else",
                path.display()
            ))
            .hint("Name another with --state-dir or --cache-dir, or run as its owner."));
        }
        if metadata.mode() & 0o077 != 0 {
            // Not repaired: the folder that was named may be one that others are meant to use.
            return Err(
                CliError::usage(format!("others can use the folder {}", path.display()))
                    .hint(format!("Make it private: chmod 700 {}", path.display())),
            );
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if it is missing.
    pub(crate) fn folder(&self, name: &str) -> Result<Self, CliError> {
        Self::open(&self.path.join(name))
    }

    /// Who we are: random, made once. Two processes that start for the first time agree.
    pub(crate) fn writer_id(&self) -> Result<WriterId, CliError> {
        let path = self.path.join(WRITER_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => return parse_writer(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(CliError::File {
                    act: "read",
                    path,
                    source,
                });
            }
        }
        let mut bytes = [0; WriterId::LEN];
        getrandom::fill(&mut bytes).map_err(|error| CliError::File {
            act: "get random bytes for",
            path: path.clone(),
            source: error.into(),
        })?;
        let id = WriterId::from_bytes(bytes);
        match self.write_new(WRITER_FILE, format!("{id}\n").as_bytes()) {
            Ok(()) => Ok(id),
            // Somebody was faster; theirs is who we are.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let text = fs::read_to_string(&path).map_err(|source| CliError::File {
                    act: "read",
                    path: path.clone(),
                    source,
                })?;
                parse_writer(&path, &text)
            }
            Err(source) => Err(CliError::File {
                act: "write",
                path,
                source,
            }),
        }
    }

    /// Writes a file that does not exist yet; it appears whole or not at all.
    pub(crate) fn write_new(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let staged = self.stage(name, content)?;
        let linked = fs::hard_link(&staged, self.path.join(name));
        let removed = fs::remove_file(&staged);
        linked?;
        removed?;
        self.sync()
    }

    /// Writes a file in place of an older one; it is the old or the new one at any time.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let staged = self.stage(name, content)?;
        fs::rename(&staged, self.path.join(name))?;
        self.sync()
    }

    fn stage(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix)?;
        let path = self
            .path
            .join(format!(".{name}.{:016x}", u64::from_le_bytes(suffix)));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        if let Err(error) = written {
            fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(path)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn parse_writer(path: &Path, text: &str) -> Result<WriterId, CliError> {
    text.trim_end().parse().map_err(|_| CliError::File {
        act: "understand",
        path: path.to_owned(),
        source: io::Error::new(
            io::ErrorKind::InvalidData,
            "it should hold 32 hexadecimal digits",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_made_private() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let folder = PrivateFolder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        folder.folder("c").unwrap();
        assert!(path.join("c").is_dir());
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = PrivateFolder::open(temp.path()).unwrap_err();
        assert!(error.message().starts_with("others can use the folder"));
        assert_eq!(fs::metadata(temp.path()).unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn a_writer_stays_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::open(&temp.path().join("state")).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let folder = folder.clone();
                std::thread::spawn(move || folder.writer_id().unwrap())
            })
            .collect();
        let ids: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 1);
        fs::write(folder.path().join(WRITER_FILE), "nonsense").unwrap();
        assert!(folder.writer_id().is_err());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::open(&temp.path().join("state")).unwrap();
        folder.write_new("x", b"one").unwrap();
        let again = folder.write_new("x", b"two").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        folder.replace("x", b"three").unwrap();
        assert_eq!(fs::read(folder.path().join("x")).unwrap(), b"three");
    }
}
