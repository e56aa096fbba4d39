//! Bytes of a record, as they are kept in the stream `db/<n>`.
//!
//! ```text
//! record  = length:varint body              length of the body
//! body    = type:u8 [expiry:u64] key:bytes value
//! type    = 0 string, 1 list, 2 set, 3 sorted set, 4 hash, 5 hash with expiring fields, 6 stream;
//!           plus 0x80 if an expiry follows
//! bytes   = length:varint raw
//! string  = bytes
//! list    = count:varint count*bytes
//! set     = like a list, strictly ascending
//! zset    = count:varint count*(member:bytes score:f64), strictly ascending by score, then member
//! hash    = count:varint count*(field:bytes value:bytes), strictly ascending by field
//! hash'   = count:varint count*(field:bytes value:bytes expiry:u64), likewise; 0 for never, not all 0
//! stream  = detail:u8 count:varint count*(id strings:varint strings*bytes), ids strictly ascending,
//!           last:id [max_deleted:id added:varint]
//!           groups:varint groups*(name:bytes last:id [read:u64]
//!             consumers:varint consumers*(name:bytes seen:i64 [active:i64]
//!               pending:varint pending*(id delivered:i64 deliveries:varint)))
//!           names and pending ids strictly ascending; the first two brackets from detail 1 on, the third
//!           from detail 2 on
//! id      = ms:u64 seq:u64
//! ```
//! Numbers are little-endian, varints are LEB128 without padding, times are milliseconds since 1970. There is one
//! encoding of every record: decoding refuses any other. The streams `functions` and `acl` hold string records.

mod decode;
#[cfg(test)]
mod tests;

use decode::Cursor;

use super::record::{Consumer, Record, Stream, StreamDetail, StreamId, Value};

/// Longest record. A value is held in memory whole, twice, while it is captured or rebuilt.
pub const RECORD_BYTES_MAX: u64 = 2 << 30;

const EXPIRES: u8 = 0x80;

/// Bytes that are no canonical record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record is damaged: {0}")]
pub struct RecordError(pub &'static str);

/// Appends the record to `out`.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(record.key.len() + record.value.size_bytes() + 32);
    let expires = if record.expires_ms.is_some() {
        EXPIRES
    } else {
        0
    };
    body.push(type_of(&record.value) | expires);
    if let Some(at) = record.expires_ms {
        body.extend_from_slice(&at.to_le_bytes());
    }
    put_bytes(&mut body, &record.key);
    put_value(&mut body, &record.value);
    put_length(out, body.len());
    out.append(&mut body);
}

/// Decodes exactly one record.
pub fn decode_record(bytes: &[u8]) -> Result<Record, RecordError> {
    let mut input = Cursor::new(bytes);
    let length = input.count()?;
    if length != input.rest().len() {
        return Err(RecordError("length does not match"));
    }
    let (tag, expires_ms, key) = input.head()?;
    let value = input.value(tag)?;
    if !input.rest().is_empty() {
        return Err(RecordError("bytes follow the value"));
    }
    Ok(Record {
        key,
        expires_ms,
        value,
    })
}

/// What a record says of itself before its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// How many elements it has, as `Value::elements` counts them.
    pub elements: usize,
    /// It is a hash with fields that expire.
    pub fields_expire: bool,
}

/// Reads only the head of a record.
pub fn outline_of(bytes: &[u8]) -> Result<Outline, RecordError> {
    let mut input = Cursor::new(bytes);
    input.count()?;
    let (tag, _, _) = input.head()?;
    let elements = match tag {
        0 => 1,
        4 | 5 => input.count()?.saturating_mul(2),
        6 => {
            input.u8()?;
            input.count()?
        }
        _ => input.count()?,
    };
    Ok(Outline {
        elements,
        fields_expire: tag == 5,
    })
}

/// Takes records out of pieces of any length.
#[derive(Debug, Default)]
pub struct RecordReader {
    buffer: Vec<u8>,
    start: usize,
}

impl RecordReader {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.start.min(self.buffer.len()));
        self.start = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole record and its bytes; none until more is fed.
    pub fn next_record(&mut self) -> Result<Option<(Record, &[u8])>, RecordError> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some((length, head)) = peek_length(rest)? else {
            return Ok(None);
        };
        let Some(bytes) = rest.get(..head.saturating_add(length)) else {
            return Ok(None);
        };
        self.start += bytes.len();
        Ok(Some((decode_record(bytes)?, bytes)))
    }

    /// Proves that nothing is left over.
    pub fn finish(&self) -> Result<(), RecordError> {
        if self.start < self.buffer.len() {
            return Err(RecordError("stream ends inside a record"));
        }
        Ok(())
    }
}

fn peek_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, RecordError> {
    let mut input = Cursor::new(bytes);
    match input.varint() {
        Ok(length) if length > RECORD_BYTES_MAX => Err(RecordError("longer than the limit")),
        Ok(length) => {
            let length = usize::try_from(length).map_err(|_| RecordError("longer than memory"))?;
            Ok(Some((length, bytes.len() - input.rest().len())))
        }
        Err(_) if bytes.len() < 10 => Ok(None),
        Err(error) => Err(error),
    }
}

fn type_of(value: &Value) -> u8 {
    match value {
        Value::String(_) => 0,
        Value::List(_) => 1,
        Value::Set(_) => 2,
        Value::SortedSet { .. } => 3,
        Value::Hash { expiries, .. } if expiries.is_empty() => 4,
        Value::Hash { .. } => 5,
        Value::Stream(_) => 6,
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, u64::try_from(length).unwrap_or(u64::MAX));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_all<'a>(out: &mut Vec<u8>, strings: impl IntoIterator<Item = &'a [u8]>) {
    for string in strings {
        put_bytes(out, string);
    }
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    out.extend_from_slice(&id.ms.to_le_bytes());
    out.extend_from_slice(&id.seq.to_le_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(string) => put_bytes(out, string),
        Value::List(strings) | Value::Set(strings) => {
            put_length(out, strings.len());
            put_all(out, strings.iter());
        }
        Value::SortedSet { members, scores } => {
            put_length(out, members.len());
            for (member, score) in members.iter().zip(scores) {
                put_bytes(out, member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Hash { pairs, expiries } => {
            put_length(out, pairs.len() / 2);
            for (at, (field, value)) in pairs.pairs().enumerate() {
                put_bytes(out, field);
                put_bytes(out, value);
                if let Some(expiry) = expiries.get(at) {
                    out.extend_from_slice(&expiry.to_le_bytes());
                }
            }
        }
        Value::Stream(stream) => put_stream(out, stream),
    }
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream) {
    out.push(match stream.detail {
        StreamDetail::Basic => 0,
        StreamDetail::Offsets => 1,
        StreamDetail::Activity => 2,
    });
    put_length(out, stream.entries.len());
    for (id, strings) in stream.entries.iter() {
        put_id(out, id);
        put_length(out, strings.len());
        put_all(out, strings);
    }
    put_id(out, stream.last_id);
    if stream.detail >= StreamDetail::Offsets {
        put_id(out, stream.max_deleted_id);
        put_varint(out, stream.entries_added);
    }
    put_length(out, stream.groups.len());
    for group in &stream.groups {
        put_bytes(out, &group.name);
        put_id(out, group.last_id);
        if stream.detail >= StreamDetail::Offsets {
            out.extend_from_slice(&group.entries_read.to_le_bytes());
        }
        put_length(out, group.consumers.len());
        for consumer in &group.consumers {
            put_consumer(out, consumer, stream.detail);
        }
    }
}

fn put_consumer(out: &mut Vec<u8>, consumer: &Consumer, detail: StreamDetail) {
    put_bytes(out, &consumer.name);
    out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
    if detail >= StreamDetail::Activity {
        out.extend_from_slice(&consumer.active_ms.to_le_bytes());
    }
    put_length(out, consumer.pending.len());
    for pending in &consumer.pending {
        put_id(out, pending.id);
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        put_varint(out, pending.deliveries);
    }
}
