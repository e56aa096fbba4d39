//! Payloads: one value, or the functions, with a version and a checksum, as `DUMP` gives and `RESTORE` takes them.

use super::write::{put_string, put_value};
use super::{Input, RdbError, crc64, object, version};
use crate::redis::record::{StreamDetail, Value};

/// Version and checksum behind the value.
const FOOTER_BYTES: usize = 10;
/// Version of payloads that hold only what was there before streams.
const VERSION_PLAIN: u16 = 6;
const FUNCTION: u8 = 245;

/// Reads a payload, its checksum and its end verified.
pub fn open_payload(payload: &[u8]) -> Result<Value, RdbError> {
    let (body, crc) = payload
        .len()
        .checked_sub(8)
        .and_then(|at| payload.split_at_checked(at))
        .ok_or(RdbError::Truncated)?;
    let sum = crc64::update(0, body).to_le_bytes();
    if sum != crc && crc.iter().any(|byte| *byte != 0) {
        return Err(RdbError::Corrupt("the checksum does not match"));
    }
    let value_bytes = payload
        .len()
        .checked_sub(FOOTER_BYTES)
        .ok_or(RdbError::Truncated)?;
    let mut input = Input::new(body.get(..value_bytes).unwrap_or_default());
    let kind = input.u8()?;
    let value = object::read_value(kind, &mut input)?;
    if u64::try_from(value_bytes) != Ok(input.consumed()) {
        return Err(RdbError::Corrupt("bytes follow the value"));
    }
    Ok(value)
}

/// Writes a payload that a server of this detail, and every later one, restores.
pub fn payload_of(value: &Value, detail: StreamDetail) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.size_bytes() + 5 * value.elements() + 64);
    put_value(&mut out, value, detail);
    let version = match value {
        Value::Stream(stream) => match detail.min(stream.detail) {
            StreamDetail::Basic => version::STREAMS,
            StreamDetail::Offsets => version::OFFSETS,
            StreamDetail::Activity => version::ACTIVITY,
        },
        Value::Hash { expiries, .. } if !expiries.is_empty() => version::FIELD_EXPIRY,
        _ => VERSION_PLAIN,
    };
    close(out, version)
}

/// Writes the libraries of functions as `FUNCTION RESTORE` takes them.
pub fn encode_functions<'a>(libraries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for library in libraries {
        out.push(FUNCTION);
        put_string(&mut out, library);
    }
    close(out, version::OFFSETS)
}

fn close(mut out: Vec<u8>, version: u16) -> Vec<u8> {
    out.extend_from_slice(&version.to_le_bytes());
    let sum = crc64::update(0, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}
