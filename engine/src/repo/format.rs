//! Bytes of the config. `repo-format.md` § Config.

use super::Config;
use crate::codec::frame::{self, Kind};
use crate::codec::{Cursor, FormatError};
use crate::limits;

/// Encodes the config.
pub fn encode(config: &Config) -> Vec<u8> {
    let mut out = frame::encode(Kind::Config).to_vec();
    out.extend_from_slice(&serde_json::to_vec(config).unwrap_or_default());
    out
}

/// Decodes the config.
pub fn decode(bytes: &[u8]) -> Result<Config, FormatError> {
    if bytes.len() > limits::CONFIG_BYTES_MAX {
        return Err(FormatError::new("config", "is too large"));
    }
    let mut input = Cursor::new("config", bytes);
    frame::decode(&mut input, Kind::Config)?;
    let json = input.take(input.remaining())?;
    serde_json::from_slice(json).map_err(|error| FormatError::new("config", error.to_string()))
}
