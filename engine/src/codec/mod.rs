//! Bounded reading and writing of bytes that last. Every format goes through here.
//!
//! All numbers are little-endian or LEB128; `repo-format.md` § Generalities.

mod cursor;
pub mod frame;

pub use cursor::Cursor;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem} at byte {offset}")]
pub struct FormatError {
    /// What was being decoded.
    pub what: &'static str,
    /// Where in it.
    pub offset: usize,
    /// What was wrong.
    pub problem: String,
}

impl FormatError {
    /// An error without a place, for what is found after decoding.
    pub fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self {
            what,
            offset: 0,
            problem: problem.into(),
        }
    }
}

/// Appends a LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a signed number, small magnitudes first (zigzag).
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Converts a length that the program itself holds; lengths above 4 GiB never occur in a format.
pub fn len_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
