//! Verifying: reads files back from the target and compares them with what was captured or written.

use std::io;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, SourceError, SourceErrorKind};

use super::client::File;

const PIECE_BYTES: usize = 256 * 1024;

/// Whether an open file has exactly the content of an item.
pub(super) fn content_equals(
    items: &dyn Items,
    item: &RepoPath,
    file: &File,
) -> Result<bool, SourceError> {
    let mut on_disk = Pieces::of(file);
    let mut equal = true;
    let read = items.read(item, &mut |mut piece| {
        while !piece.is_empty() && equal {
            match on_disk.next(piece.len()) {
                Ok(found) if !found.is_empty() && piece.starts_with(found) => {
                    piece = piece.get(found.len()..).unwrap_or_default();
                }
                _ => equal = false,
            }
        }
        if equal {
            return Ok(());
        }
        // Ends the reading; nobody sees it.
        Err(SourceError::new(
            SourceErrorKind::Validation,
            "the content differs",
        ))
    });
    if equal {
        read?;
    }
    Ok(equal && on_disk.next(1).is_ok_and(<[u8]>::is_empty))
}

/// Hash of the content that is on disk now.
pub(super) fn hash_on_disk(file: &File) -> io::Result<blake3::Hash> {
    file.forget_cached()?;
    let mut hasher = blake3::Hasher::new();
    let mut pieces = Pieces::of(file);
    loop {
        let piece = pieces.next(PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(hasher.finalize());
        }
        hasher.update(piece);
    }
}

/// Reads a file in order, as much at a time as is asked for.
struct Pieces<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    taken: usize,
}

impl<'a> Pieces<'a> {
    fn of(file: &'a File) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(PIECE_BYTES),
            taken: 0,
        }
    }

    /// At most `most` bytes; none at the end.
    fn next(&mut self, most: usize) -> io::Result<&[u8]> {
        if self.taken == self.buffer.len() {
            self.taken = 0;
            self.buffer.clear();
            self.file.read_more(&mut self.buffer)?;
        }
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let piece = rest.get(..most).unwrap_or(rest);
        self.taken += piece.len();
        Ok(piece)
    }
}
