//! The first hundred bytes of a database file: what it says of itself before any SQL.
//!
//! Layout: "The Database Header" of SQLite's file format, big-endian.

#![expect(
    clippy::big_endian_bytes,
    reason = "SQLite's file format is big-endian"
)]

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 100;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The facts of a database header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page: a power of two from 512 to 65536.
    pub(super) page_size: u32,
    /// Whether the file asks to be opened with a write-ahead log.
    pub(super) wal: bool,
    /// Pages in the database; none if the header's count is stale, as an old writer leaves it.
    pub(super) page_count: Option<u32>,
    /// `PRAGMA user_version`.
    pub(super) user_version: i32,
    /// `PRAGMA application_id`.
    pub(super) application_id: i32,
    /// Text encoding.
    pub(super) encoding: &'static str,
    /// Version of the library that wrote last.
    pub(super) written_by: String,
}

impl Header {
    /// Reads a header; none if these are not the first bytes of a database.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let page_size = match two(bytes, 16)? {
            1 => 65_536,
            size => u32::from(size),
        };
        if !page_size.is_power_of_two() || page_size < 512 {
            return None;
        }
        let count = four(bytes, 28)?;
        let count_is_current = count > 0 && four(bytes, 24)? == four(bytes, 92)?;
        let version = four(bytes, 96)?;
        Some(Self {
            page_size,
            wal: *bytes.get(19)? == 2,
            page_count: count_is_current.then_some(count),
            user_version: signed(bytes, 60)?,
            application_id: signed(bytes, 68)?,
            encoding: match four(bytes, 56)? {
                2 => "UTF-16le",
                3 => "UTF-16be",
                _ => "UTF-8",
            },
            written_by: format!(
                "{}.{}.{}",
                version / 1_000_000,
                version / 1000 % 1000,
                version % 1000
            ),
        })
    }

    /// Pages that SQLite sees in a file of this size.
    pub(super) fn pages_in(&self, size_bytes: u64) -> u64 {
        self.page_count
            .map_or(size_bytes / u64::from(self.page_size), u64::from)
    }
}

fn two(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn signed(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16] = 0x10;
        bytes[19] = 2;
        bytes[27] = 7;
        bytes[31] = 42;
        bytes[59] = 1;
        bytes[60..64].copy_from_slice(&(-5_i32).to_be_bytes());
        bytes[95] = 7;
        bytes[96..].copy_from_slice(&3_040_001_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_header_is_understood() {
        let parsed = Header::parse(&header()).unwrap();
        assert_eq!(
            parsed,
            Header {
                page_size: 4096,
                wal: true,
                page_count: Some(42),
                user_version: -5,
                application_id: 0,
                encoding: "UTF-8",
                written_by: "3.40.1".into(),
            }
        );
        assert_eq!(parsed.pages_in(1 << 30), 42);
    }

    #[test]
    fn a_stale_page_count_gives_way_to_the_size_of_the_file() {
        let mut bytes = header();
        bytes[95] = 8;
        let parsed = Header::parse(&bytes).unwrap();
        assert_eq!(parsed.pages_in(10 * 4096 + 100), 10);
    }

    #[test]
    fn other_bytes_are_no_header() {
        assert_eq!(Header::parse(b""), None);
        assert_eq!(Header::parse(&[0; HEADER_BYTES]), None);
        let mut bytes = header();
        bytes[16] = 0x11;
        assert_eq!(Header::parse(&bytes), None);
        bytes[16..18].copy_from_slice(&[0, 1]);
        assert_eq!(Header::parse(&bytes).unwrap().page_size, 65_536);
    }
}
