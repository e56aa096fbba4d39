//! Redis dump format (RDB): read as a stream, key by key, to its proved end; written one value at a time.
//!
//! Versions 5 to 12 are understood (Redis 3.2 to 8.0, Valkey 8): every type and encoding of the core. Values of
//! modules are refused by name. Every length is checked against a limit and memory grows only with bytes that really
//! came, so bytes of any origin give an error at worst.

mod compact;
mod crc64;
mod input;
mod lzf;
mod object;
mod payload;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod write;

pub use payload::{encode_functions, open_payload, payload_of};
pub use reader::{Event, RdbReader};

pub(super) use input::Input;

use std::io;

/// Why a dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RdbError {
    /// It stopped before its end mark.
    #[error("the dump ends before its end mark")]
    Truncated,
    /// The bytes could not be had.
    #[error("the dump cannot be read")]
    Io(#[source] io::Error),
    /// The bytes make no sense.
    #[error("the dump is damaged: {0}")]
    Corrupt(&'static str),
    /// A collection has no element. To a server that is no key, though old ones could come to hold some.
    #[error("the dump is damaged: a collection has no element")]
    Empty,
    /// The bytes make sense to somebody else.
    #[error("the dump holds {0}, which cannot be captured")]
    Unsupported(String),
}

impl From<io::Error> for RdbError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Io(error)
        }
    }
}

impl From<super::record::Twice> for RdbError {
    fn from(_: super::record::Twice) -> Self {
        Self::Corrupt("an element occurs twice")
    }
}

/// Dump versions at which something changed that matters here.
pub mod version {
    /// Redis 5: streams.
    pub const STREAMS: u16 = 9;
    /// Redis 7.0: functions, offsets of streams.
    pub const OFFSETS: u16 = 10;
    /// Redis 7.2: activity of consumers.
    pub const ACTIVITY: u16 = 11;
    /// Redis 7.4: fields of hashes that expire.
    pub const FIELD_EXPIRY: u16 = 12;
}
