//! Markers: what a restore writes into the databases it works in, so that any process can tell how far it came.
//!
//! A marker changes in the same transaction as what it tells of. It is the truth; journals only point to it.

use std::fmt;

/// The key that holds the marker. Everything a restore writes for itself begins like it.
pub(super) const MARKER_KEY: &[u8] = b"keepstone:restore";
/// The names of the keys that a switch moves, in order; only where single keys are moved.
pub(super) const NAMES_KEY: &[u8] = b"keepstone:restore:names";
/// The functions of before the switch, as a payload.
pub(super) const OLD_FUNCTIONS_KEY: &[u8] = b"keepstone:restore:functions:old";
/// The functions that the switch puts in place, as a payload.
pub(super) const NEW_FUNCTIONS_KEY: &[u8] = b"keepstone:restore:functions:new";

/// All keys that a restore writes for itself.
pub(super) const OWN_KEYS: [&[u8]; 4] =
    [MARKER_KEY, NAMES_KEY, OLD_FUNCTIONS_KEY, NEW_FUNCTIONS_KEY];

/// Names one restore: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RestoreId([u8; 16]);

impl RestoreId {
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for RestoreId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RestoreId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not 32 hexadecimal digits"))
    }
}

/// How far a restore has come, as its databases tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The database is being filled.
    Staging,
    /// All of them are filled; live data is untouched.
    Staged,
    /// The switch is done; the database holds what it replaced.
    Kept,
    /// The switch was undone, or staging given up. Goes away by itself.
    Undone,
}

/// A marker: which restore, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) stage: Stage,
    pub(super) id: RestoreId,
    /// The live database that is restored.
    pub(super) target: u32,
}

impl Marker {
    /// Parses the value of the key; none if it is not of ours.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (stage, rest) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let (id, target) = rest.split_once(' ')?;
        let stage = match stage {
            "staging" => Stage::Staging,
            "staged" => Stage::Staged,
            "kept" => Stage::Kept,
            "undone" => Stage::Undone,
            _ => return None,
        };
        Some(Self {
            stage,
            id: RestoreId(parse_hex(id)?),
            target: target.parse().ok()?,
        })
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Staging => "staging",
            Stage::Staged => "staged",
            Stage::Kept => "kept",
            Stage::Undone => "undone",
        };
        write!(f, "{stage} {} {}", self.id, self.target)
    }
}

/// Parses exactly 32 hexadecimal digits.
fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_round_trip_and_nothing_else_is_one() {
        let id = RestoreId([0xa5; 16]);
        for stage in [Stage::Staging, Stage::Staged, Stage::Kept, Stage::Undone] {
            let marker = Marker {
                stage,
                id,
                target: 3,
            };
            assert_eq!(Marker::parse(marker.to_string().as_bytes()), Some(marker));
        }
        for other in [
            "",
            "kept",
            "kept a5",
            "kept a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "lost a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 0",
            "\u{e4} x",
        ] {
            assert_eq!(Marker::parse(other.as_bytes()), None, "{other}");
        }
    }
}
