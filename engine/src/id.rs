//! Names of things. If two ids can be confused, they are two types.
//!
//! Every id prints and parses as full lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

/// Parses exactly `2 * N` lower-case hexadecimal digits: one value has one spelling.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | hex_value(*digit)?;
        }
    }
    Some(bytes)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The text was not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {expected} hexadecimal digits")]
pub struct ParseIdError {
    expected: usize,
}

macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps bytes that were read from a checked place.
            pub fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self).ok_or(ParseIdError { expected: 2 * $len })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

define_id! {
    /// Names a chunk of a stream, or a node of a tree, by the keyed hash of its plaintext.
    ChunkId, 32
}
define_id! {
    /// Names a repository; random, in its config.
    RepoId, 16
}
define_id! {
    /// Names one writer's life; random. A snapshot has the name of the session that committed it.
    SessionId, 16
}
define_id! {
    /// Names a writer: one state folder of one host; random.
    WriterId, 16
}
define_id! {
    /// The random half of an object's name: pack, index, tombstone, key slot.
    ObjectId, 16
}

/// A snapshot has the name of the session that committed it.
pub type SnapshotId = SessionId;

impl SessionId {
    /// Whether the id begins with these hexadecimal digits.
    pub fn matches_prefix(&self, prefix: &str) -> bool {
        self.to_string().starts_with(&prefix.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_full_hex() {
        let id = ChunkId([0xab; 32]);
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert_eq!(format!("{id:?}"), "ab".repeat(32));
        assert!("xy".parse::<ChunkId>().is_err());
    }

    #[test]
    fn an_id_has_one_spelling() {
        let good = "0f".repeat(16);
        assert!(good.parse::<ObjectId>().is_ok());
        for bad in [
            format!("+f{}", &good[2..]),
            format!("-f{}", &good[2..]),
            format!(" f{}", &good[2..]),
            good.to_uppercase(),
            format!("{good}0"),
            format!("{good}00"),
            good[1..].into(),
            format!("é{}", &good[2..]),
            String::new(),
        ] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }
}
