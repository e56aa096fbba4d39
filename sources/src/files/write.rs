//! Writing one file: content under a temporary name, then its facts, then its final name.

use std::io;
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, SourceError, SourceErrorKind};

use super::client::{self, Folder, NewFile};
use super::metadata::{Notes, Wanted};
use super::plan::FileWish;

/// Blocks of zeros of this size and place are left unwritten in a sparse file.
const BLOCK_BYTES: usize = 4096;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Why an entry was not restored.
#[derive(Debug)]
pub(super) enum Failure {
    /// Only this one: the restore goes on.
    Entry(String),
    /// Only this one: its content lies damaged in the repository.
    Damage(String),
    /// All of them: nothing further can work.
    Restore(SourceError),
}

impl Failure {
    /// Judges an error of the file system at one path below the target.
    pub(super) fn of(error: io::Error, path: &RepoPath) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SourceErrorKind::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => SourceErrorKind::Denied,
            _ => return Self::Entry(client::reason(&error)),
        };
        let act = format!("cannot write {path} below the target");
        Self::Restore(SourceError::new(kind, act).because(error))
    }
}

/// Writes a file; what is in its way goes by `clear` once its content is there. Answers the hash of its content if that is
/// wanted.
pub(super) fn write_file(
    items: &dyn Items,
    (folder, path): (&Arc<Folder>, &RepoPath),
    (file, wanted): (&FileWish, &Wanted),
    (notes, hashed): (&Notes, bool),
    clear: &dyn Fn() -> io::Result<()>,
) -> Result<Option<blake3::Hash>, Failure> {
    let io_failed = |error| Failure::of(error, path);
    let mut content = Content {
        file: NewFile::create(folder).map_err(io_failed)?,
        sparse: file.sparse,
        written_bytes: 0,
        ends_in_hole: false,
        hasher: hashed.then(blake3::Hasher::new),
    };
    let mut failed = None;
    let read = items.read(&file.content, &mut |piece| {
        if items.cancelled() {
            let act = "writing files was interrupted";
            return Err(SourceError::new(SourceErrorKind::Cancelled, act));
        }
        content.take(piece).map_err(|error| {
            failed = Some(error);
            // Ends the reading; the error above is the one that is told.
            SourceError::new(SourceErrorKind::Other, "cannot write")
        })
    });
    if let Some(error) = failed {
        return Err(io_failed(error));
    }
    read.map_err(unreadable)?;
    if content.written_bytes != file.size_bytes {
        let (wrote, expected) = (content.written_bytes, file.size_bytes);
        let reason = format!("has {wrote} bytes in the repository instead of {expected}");
        return Err(Failure::Entry(reason));
    }
    let (file, hash) = content.finish().map_err(io_failed)?;
    wanted.dress(&file, notes).map_err(io_failed)?;
    clear().map_err(io_failed)?;
    file.place(path.name().unwrap_or_default())
        .map_err(io_failed)?;
    Ok(hash)
}

/// Damage concerns one file; a repository that cannot be reached concerns all.
pub(super) fn unreadable(error: SourceError) -> Failure {
    if !error.is_damage() {
        return Failure::Restore(error);
    }
    Failure::Damage(what_is_damaged(&error))
}

/// The damage that an error tells of, with its object.
pub(super) fn what_is_damaged(error: &SourceError) -> String {
    // What the engine says of itself names the object; that it stopped says nothing more.
    let is_engines = error.kind() == SourceErrorKind::Damage;
    let own = (!is_engines).then(|| error.to_string());
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let said: Vec<_> = own
        .into_iter()
        .chain(causes.map(ToString::to_string))
        .collect();
    said.join(": ")
}

/// A file while its content comes in.
struct Content {
    file: NewFile,
    sparse: bool,
    written_bytes: u64,
    ends_in_hole: bool,
    hasher: Option<blake3::Hasher>,
}

impl Content {
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        if self.sparse {
            return self.take_sparse(piece);
        }
        self.file.write(piece)?;
        self.written_bytes += piece.len() as u64;
        Ok(())
    }

    fn take_sparse(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let zeros = run_length(piece, self.written_bytes, true);
            if zeros > 0 {
                self.file.skip(zeros as u64)?;
                self.ends_in_hole = true;
                self.written_bytes += zeros as u64;
                piece = piece.get(zeros..).unwrap_or_default();
            }
            let data = run_length(piece, self.written_bytes, false);
            if data > 0 {
                self.file.write(piece.get(..data).unwrap_or_default())?;
                self.ends_in_hole = false;
                self.written_bytes += data as u64;
                piece = piece.get(data..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<(NewFile, Option<blake3::Hash>)> {
        if self.ends_in_hole {
            self.file.set_length(self.written_bytes)?;
        }
        Ok((self.file, self.hasher.map(|hasher| hasher.finalize())))
    }
}

/// How many bytes from the start are whole blocks of zeros, or whole blocks of anything else. Blocks are counted
/// from the start of the file; the first and the last of a piece may be part of one.
fn run_length(piece: &[u8], offset: u64, zeros: bool) -> usize {
    let into_block = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0);
    let mut length = 0;
    let mut room = BLOCK_BYTES - into_block;
    while length < piece.len() {
        let block = piece.get(length..).unwrap_or_default();
        let block = block.get(..room).unwrap_or(block);
        if ZEROS.starts_with(block) != zeros {
            break;
        }
        length += block.len();
        room = BLOCK_BYTES;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_zeros_end_with_blocks() {
        let mut piece = vec![0; 3 * BLOCK_BYTES];
        if let Some(byte) = piece.get_mut(BLOCK_BYTES + 7) {
            *byte = 1;
        }
        assert_eq!(run_length(&piece, 0, true), BLOCK_BYTES);
        assert_eq!(run_length(&piece, 0, false), 0);
        assert_eq!(run_length(&piece, 100, true), BLOCK_BYTES - 100);
        let rest = piece.get(BLOCK_BYTES..).unwrap();
        assert_eq!(run_length(rest, BLOCK_BYTES as u64, false), BLOCK_BYTES);
        assert_eq!(run_length(&[], 5, true), 0);
        assert_eq!(run_length(&[0; 10], BLOCK_BYTES as u64 - 4, true), 10);
    }
}
