//! A write-ahead log as it lies beside a database: which of its frames hold the pages of one instant.
//!
//! Layout: "WAL File Format" and "WAL-Index Format" of SQLite's documentation. The log is big-endian, the index in the
//! `-shm` file has the byte order of the machine. SQLite trusts the index while a reader is registered; so does this
//! module, and checks besides that every frame belongs to the generation of the log that the index speaks of.

#![expect(clippy::big_endian_bytes, reason = "SQLite's log is big-endian")]
#![expect(
    clippy::host_endian_bytes,
    reason = "SQLite's log index is shared memory of this machine"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The only version of the index there has ever been.
const INDEX_VERSION: u32 = 3_007_000;
const INDEX_HEADER_BYTES: usize = 48;
const LOG_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What the index says of the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHeader {
    /// Valid frames in the log; frames count from 1.
    pub(super) frames: u32,
    /// Pages in the database after the last frame.
    pub(super) pages: u32,
    /// Bytes of a page.
    pub(super) page_size: u32,
    salts: [u8; 8],
    /// The whole header: equal headers are the same commit.
    raw: [u8; INDEX_HEADER_BYTES],
}

impl IndexHeader {
    /// Reads the header out of a `-shm` file; none while somebody writes it.
    pub(super) fn read(shm: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; INDEX_HEADER_BYTES * 2];
        match shm.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the header, which stands there twice; none if somebody is writing it.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, copy) = bytes.split_first_chunk::<INDEX_HEADER_BYTES>()?;
        let is_initialised = *raw.get(12)? != 0;
        if !copy.starts_with(raw) || !is_initialised || word(raw, 0)? != INDEX_VERSION {
            return None;
        }
        if checksum(raw.get(..40)?)? != (word(raw, 40)?, word(raw, 44)?) {
            return None;
        }
        let page_size = u32::from(u16::from_ne_bytes(*raw.get(14..)?.first_chunk()?));
        Some(Self {
            frames: word(raw, 16)?,
            pages: word(raw, 20)?,
            page_size: if page_size == 1 { 65_536 } else { page_size },
            salts: *raw.get(32..)?.first_chunk()?,
            raw: *raw,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// SQLite's checksum over pairs of words.
fn checksum(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut sums = (0_u32, 0_u32);
    for pair in bytes.chunks_exact(8) {
        sums.0 = sums.0.wrapping_add(word(pair, 0)?).wrapping_add(sums.1);
        sums.1 = sums.1.wrapping_add(word(pair, 4)?).wrapping_add(sums.0);
    }
    Some(sums)
}

/// Where the newest copy of every page lies that the log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frames {
    /// Page number, from 1, to the offset of its bytes in the log.
    by_page: BTreeMap<u32, u64>,
}

impl Frames {
    /// Reads the frames up to a commit. The log must not be able to start over meanwhile.
    pub(super) fn read(log: &File, header: &IndexHeader) -> io::Result<Self> {
        let mut frames = Self::default();
        let frame_bytes = FRAME_HEADER_BYTES as u64 + u64::from(header.page_size);
        for number in 0..header.frames {
            let offset = LOG_HEADER_BYTES as u64 + u64::from(number) * frame_bytes;
            let mut bytes = [0; FRAME_HEADER_BYTES];
            log.read_exact_at(&mut bytes, offset)?;
            let is_last = number + 1 == header.frames;
            let page = frame_page(&bytes, header, is_last).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("frame {} is not of the commit the index names", number + 1),
                )
            })?;
            // Pages beyond the end were cut off by a later commit.
            if page <= header.pages {
                frames
                    .by_page
                    .insert(page, offset + FRAME_HEADER_BYTES as u64);
            }
        }
        Ok(frames)
    }

    /// Pages from `first` up to but without `end` that the log holds, with the offsets of their bytes.
    pub(super) fn between(&self, first: u32, end: u32) -> impl Iterator<Item = (u32, u64)> {
        self.by_page
            .range(first..end)
            .map(|(page, offset)| (*page, *offset))
    }
}

/// Whether a log is of the generation that the index speaks of and holds nothing of it behind the last commit that the index
/// knows.
pub(super) fn ends_with(log: &File, header: &IndexHeader) -> io::Result<bool> {
    let mut head = [0; LOG_HEADER_BYTES];
    if log.read_at(&mut head, 0)? < head.len() {
        return Ok(header.frames == 0);
    }
    let frame_bytes = FRAME_HEADER_BYTES as u64 + u64::from(header.page_size);
    let mut next = [0; FRAME_HEADER_BYTES];
    let next_at = LOG_HEADER_BYTES as u64 + u64::from(header.frames) * frame_bytes;
    let count = log.read_at(&mut next, next_at)?;
    let is_ours = |salts: Option<&[u8]>| salts == Some(header.salts.as_slice());
    let has_more = count == next.len() && is_ours(next.get(8..16));
    Ok(is_ours(head.get(16..24)) && !has_more)
}

/// The page of a frame; none if the frame is of another generation, or the last one is no commit.
fn frame_page(bytes: &[u8], header: &IndexHeader, is_last: bool) -> Option<u32> {
    let page = u32::from_be_bytes(*bytes.first_chunk()?);
    let pages_after = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
    let salts: &[u8; 8] = bytes.get(8..)?.first_chunk()?;
    let belongs = *salts == header.salts && page > 0;
    let ends = !is_last || pages_after == header.pages;
    (belongs && ends).then_some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(frames: u32, pages: u32) -> [u8; INDEX_HEADER_BYTES * 2] {
        let mut raw = [0; INDEX_HEADER_BYTES];
        raw[..4].copy_from_slice(&INDEX_VERSION.to_ne_bytes());
        raw[12] = 1;
        raw[14..16].copy_from_slice(&512_u16.to_ne_bytes());
        raw[16..20].copy_from_slice(&frames.to_ne_bytes());
        raw[20..24].copy_from_slice(&pages.to_ne_bytes());
        raw[32..40].copy_from_slice(b"saltsalt");
        let (one, two) = checksum(&raw[..40]).unwrap();
        raw[40..44].copy_from_slice(&one.to_ne_bytes());
        raw[44..48].copy_from_slice(&two.to_ne_bytes());
        let mut both = [0; INDEX_HEADER_BYTES * 2];
        both[..INDEX_HEADER_BYTES].copy_from_slice(&raw);
        both[INDEX_HEADER_BYTES..].copy_from_slice(&raw);
        both
    }

    fn log(frames: &[(u32, u32, &[u8; 8])]) -> File {
        let mut bytes = vec![0; 32];
        for (page, pages_after, salts) in frames {
            bytes.extend(page.to_be_bytes());
            bytes.extend(pages_after.to_be_bytes());
            bytes.extend(*salts);
            bytes.resize(bytes.len() + 8 + 512, 0);
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_header_that_is_being_written_is_none() {
        let good = index(3, 9);
        assert_eq!(IndexHeader::parse(&good).unwrap().frames, 3);
        for at in [0, 12, 17, 41, 48, 90] {
            let mut torn = good;
            torn[at] ^= 1;
            assert_eq!(IndexHeader::parse(&torn), None, "{at}");
        }
    }

    #[test]
    fn the_newest_frame_of_a_page_wins_and_pages_beyond_the_end_are_gone() {
        let salts = b"saltsalt";
        let header = IndexHeader::parse(&index(4, 3)).unwrap();
        let file = log(&[(2, 0, salts), (7, 9, salts), (2, 0, salts), (1, 3, salts)]);
        let frames = Frames::read(&file, &header).unwrap();
        let frame = 24 + 512;
        let all: Vec<_> = frames.between(1, 100).collect();
        assert_eq!(all, [(1, 32 + 3 * frame + 24), (2, 32 + 2 * frame + 24)]);
        assert_eq!(frames.between(2, 2).count(), 0);
    }

    #[test]
    fn frames_of_another_generation_or_without_a_commit_are_refused() {
        let header = IndexHeader::parse(&index(2, 3)).unwrap();
        let salts = b"saltsalt";
        for frames in [
            [(1, 0, b"saltsald"), (2, 3, salts)],
            [(1, 0, salts), (2, 0, salts)],
            [(0, 0, salts), (2, 3, salts)],
        ] {
            Frames::read(&log(&frames), &header).unwrap_err();
        }
        Frames::read(&log(&[(1, 0, salts)]), &header).unwrap_err();
    }
}
