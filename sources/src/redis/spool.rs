//! An unnamed temporary file whose bytes are sealed: nothing readable stays behind, whatever happens.
//!
//! The file has no name from the start (`O_TMPFILE` where the file system has it), so a kill frees it. Its frames are
//! sealed with ChaCha20-Poly1305 under a random key that is only in memory; the nonce is the number of the frame.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Nonce};
use zeroize::Zeroizing;

/// Plain bytes of a frame.
const FRAME_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// A spool that is being written: runs of bytes, one after the other.
pub(super) struct Spool {
    file: Arc<File>,
    cipher: Arc<ChaCha20Poly1305>,
    frames: u64,
    bytes_max: u64,
}

/// One run that was written and can be read.
pub(super) struct Run {
    file: Arc<File>,
    cipher: Arc<ChaCha20Poly1305>,
    next_frame: u64,
    end_frame: u64,
    rest_bytes: u64,
    frame: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Spool {
    /// Makes the file in a folder. At most so many bytes will be written.
    pub(super) fn create(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(io::Error::other)?;
        let key: &Key = (&*key).into();
        Ok(Self {
            file: Arc::new(tempfile::tempfile_in(folder)?),
            cipher: Arc::new(ChaCha20Poly1305::new(key)),
            frames: 0,
            bytes_max,
        })
    }

    /// Writes one run out of pieces.
    pub(super) fn write_run<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Run> {
        let first_frame = self.frames;
        let mut frame = Zeroizing::new(Vec::with_capacity(FRAME_BYTES + TAG_BYTES));
        let mut total = 0_u64;
        for mut piece in pieces {
            total += u64::try_from(piece.len()).unwrap_or_default();
            while !piece.is_empty() {
                let room = (FRAME_BYTES - frame.len()).min(piece.len());
                let (now, later) = piece.split_at(room);
                frame.extend_from_slice(now);
                piece = later;
                if frame.len() == FRAME_BYTES {
                    self.write_frame(&mut frame)?;
                }
            }
        }
        if !frame.is_empty() {
            frame.resize(FRAME_BYTES, 0); // Every frame has its place.
            self.write_frame(&mut frame)?;
        }
        Ok(Run {
            file: Arc::clone(&self.file),
            cipher: Arc::clone(&self.cipher),
            next_frame: first_frame,
            end_frame: self.frames,
            rest_bytes: total,
            frame: Zeroizing::default(),
            at: 0,
        })
    }

    fn write_frame(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        let sealed_bytes = u64::try_from(FRAME_BYTES + TAG_BYTES).unwrap_or(u64::MAX);
        if self.frames.saturating_add(1).saturating_mul(sealed_bytes) > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the bound of the spool is reached",
            ));
        }
        self.cipher
            .encrypt_in_place(&nonce(self.frames), &[], frame)
            .map_err(|_| io::Error::other("a frame cannot be sealed"))?;
        (&*self.file).write_all(frame)?;
        self.frames += 1;
        frame.clear();
        Ok(())
    }
}

impl Run {
    /// Bytes that are still to be read.
    pub(super) fn rest_bytes(&self) -> u64 {
        self.rest_bytes
    }

    /// Appends exactly this many bytes to `out`.
    pub(super) fn read(&mut self, mut length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        self.rest_bytes = self
            .rest_bytes
            .checked_sub(wanted)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        while length > 0 {
            if self.at == self.frame.len() {
                self.read_frame()?;
            }
            let part = (self.frame.len() - self.at).min(length);
            let end = self.at + part;
            out.extend_from_slice(self.frame.get(self.at..end).unwrap_or_default());
            self.at = end;
            length -= part;
        }
        Ok(())
    }

    fn read_frame(&mut self) -> io::Result<()> {
        if self.next_frame == self.end_frame {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let sealed_bytes = FRAME_BYTES + TAG_BYTES;
        let offset = self.next_frame * u64::try_from(sealed_bytes).unwrap_or(u64::MAX);
        self.frame.resize(sealed_bytes, 0);
        self.file.read_exact_at(&mut self.frame, offset)?;
        self.cipher
            .decrypt_in_place(&nonce(self.next_frame), &[], &mut *self.frame)
            .map_err(|_| io::Error::other("a frame was changed"))?;
        self.next_frame += 1;
        self.at = 0;
        Ok(())
    }
}

/// Each number is used for one frame of one key, once.
fn nonce(frame: u64) -> Nonce {
    let mut nonce = Nonce::default();
    for (byte, value) in nonce.iter_mut().zip(frame.to_le_bytes()) {
        *byte = value;
    }
    nonce
}
