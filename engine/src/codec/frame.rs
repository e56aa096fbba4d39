//! The clear frame of every repository file: what must be readable before the key.
//!
//! `repo-format.md` § Frame.

use super::{Cursor, FormatError};

/// First four bytes of every file of a repository.
pub const MAGIC: [u8; 4] = *b"KSTN";
/// The version of every format in this program.
pub const VERSION: u8 = 1;
/// Length of the frame.
pub const LENGTH: usize = 8;

/// What kind of file follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The repository's config.
    Config = 1,
    /// A key slot.
    Slot = 2,
    /// A pack.
    Pack = 3,
    /// An index segment.
    Index = 4,
    /// A session record.
    Session = 5,
    /// The end of a session: a snapshot, or aborted.
    End = 6,
    /// A forget marker.
    Forgotten = 7,
    /// A tombstone.
    Tombstone = 8,
    /// A settled list.
    Settled = 9,
}

/// The frame's bytes.
pub fn encode(kind: Kind) -> [u8; LENGTH] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, kind as u8, 0, 0]
}

/// Takes the frame off; refuses another kind and another version.
pub fn decode(input: &mut Cursor<'_>, kind: Kind) -> Result<(), FormatError> {
    if input.array()? != MAGIC {
        return Err(input.problem("does not begin with the magic bytes of a Keepstone file"));
    }
    let version = input.byte()?;
    if version != VERSION {
        return Err(input.problem(format!("version {version} is unknown, {VERSION} is known")));
    }
    let found = input.byte()?;
    if found != kind as u8 {
        return Err(input.problem(format!("is of kind {found} instead of {}", kind as u8)));
    }
    if input.u16_le()? != 0 {
        return Err(input.problem("reserved bytes are not zero"));
    }
    Ok(())
}
