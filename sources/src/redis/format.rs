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

use super::record::{
    Consumer, Entries, Group, Pending, Record, Stream, StreamDetail, StreamId, Strings, Value,
};

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
    let mut input = Cursor { rest: bytes };
    let length = input.count()?;
    if length != input.rest.len() {
        return Err(RecordError("length does not match"));
    }
    let (tag, expires_ms, key) = input.head()?;
    let value = input.value(tag)?;
    if !input.rest.is_empty() {
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
    let mut input = Cursor { rest: bytes };
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
    let mut input = Cursor { rest: bytes };
    match input.varint() {
        Ok(length) if length > RECORD_BYTES_MAX => Err(RecordError("longer than the limit")),
        Ok(length) => {
            let length = usize::try_from(length).map_err(|_| RecordError("longer than memory"))?;
            Ok(Some((length, bytes.len() - input.rest.len())))
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

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    out.extend_from_slice(&id.ms.to_le_bytes());
    out.extend_from_slice(&id.seq.to_le_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(string) => put_bytes(out, string),
        Value::List(strings) | Value::Set(strings) => {
            put_length(out, strings.len());
            strings.iter().for_each(|string| put_bytes(out, string));
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
        strings.iter().for_each(|string| put_bytes(out, string));
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

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RecordError("ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        let (first, rest) = self.rest.split_first().ok_or(RecordError("ends early"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn array8(&mut self) -> Result<[u8; 8], RecordError> {
        self.take(8)?
            .try_into()
            .map_err(|_| RecordError("ends early"))
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        Ok(u64::from_le_bytes(self.array8()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_le_bytes(self.array8()?))
    }

    fn varint(&mut self) -> Result<u64, RecordError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(RecordError("number is too large"));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(RecordError("number is padded"));
                }
                return Ok(number);
            }
        }
        Err(RecordError("number is too large"))
    }

    /// A count of things of at least one byte each: it cannot exceed what is left.
    fn count(&mut self) -> Result<usize, RecordError> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(RecordError("count exceeds the record"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.count()?;
        self.take(length)
    }

    fn id(&mut self) -> Result<StreamId, RecordError> {
        Ok(StreamId {
            ms: self.u64()?,
            seq: self.u64()?,
        })
    }

    fn head(&mut self) -> Result<(u8, Option<u64>, Vec<u8>), RecordError> {
        let tag = self.u8()?;
        let expires_ms = if tag & EXPIRES != 0 {
            Some(self.u64()?)
        } else {
            None
        };
        Ok((tag & !EXPIRES, expires_ms, self.bytes()?.to_vec()))
    }

    fn value(&mut self, tag: u8) -> Result<Value, RecordError> {
        match tag {
            0 => Ok(Value::String(self.bytes()?.to_vec())),
            1 => Ok(Value::List(self.strings(false)?)),
            2 => Ok(Value::Set(self.strings(true)?)),
            3 => self.sorted_set(),
            4 => self.hash(false),
            5 => self.hash(true),
            6 => Ok(Value::Stream(Box::new(self.stream()?))),
            _ => Err(RecordError("type is unknown")),
        }
    }

    fn strings(&mut self, ascending: bool) -> Result<Strings, RecordError> {
        let count = self.count()?;
        if count == 0 {
            return Err(RecordError("collection is empty"));
        }
        let mut strings = Strings::new();
        let mut last: Option<&[u8]> = None;
        for _ in 0..count {
            let string = self.bytes()?;
            if ascending {
                ascends(&mut last, string)?;
            }
            strings.push(string);
        }
        Ok(strings)
    }

    fn sorted_set(&mut self) -> Result<Value, RecordError> {
        let count = self.count()?;
        let mut members = Strings::new();
        let mut scores: Vec<f64> = Vec::new();
        let mut last: Option<(f64, &[u8])> = None;
        for _ in 0..count {
            let member = self.bytes()?;
            let score = f64::from_le_bytes(self.array8()?);
            if score.is_nan() || (score == 0.0 && score.is_sign_negative()) {
                return Err(RecordError("score is not canonical"));
            }
            let after = last.is_none_or(|(before, name)| {
                before
                    .total_cmp(&score)
                    .then_with(|| name.cmp(member))
                    .is_lt()
            });
            if !after {
                return Err(RecordError("members are not in order"));
            }
            last = Some((score, member));
            members.push(member);
            scores.push(score);
        }
        // Duplicates under different scores are found here.
        match Value::sorted_set(&members, &scores) {
            Ok(value) if count > 0 => Ok(value),
            _ => Err(RecordError("sorted set is empty or names a member twice")),
        }
    }

    fn hash(&mut self, expiring: bool) -> Result<Value, RecordError> {
        let count = self.count()?;
        let mut pairs = Strings::new();
        let mut expiries = Vec::new();
        let mut last = None;
        for _ in 0..count {
            let field = self.bytes()?;
            ascends(&mut last, field)?;
            pairs.push(field);
            pairs.push(self.bytes()?);
            if expiring {
                expiries.push(self.u64()?);
            }
        }
        if count == 0 || (expiring && expiries.iter().all(|at| *at == 0)) {
            return Err(RecordError("hash is empty or its type is wrong"));
        }
        Ok(Value::Hash { pairs, expiries })
    }

    fn stream(&mut self) -> Result<Stream, RecordError> {
        let detail = match self.u8()? {
            0 => StreamDetail::Basic,
            1 => StreamDetail::Offsets,
            2 => StreamDetail::Activity,
            _ => return Err(RecordError("stream detail is unknown")),
        };
        let entries = self.entries()?;
        let last_id = self.id()?;
        let (max_deleted_id, entries_added) = if detail >= StreamDetail::Offsets {
            (self.id()?, self.varint()?)
        } else {
            (StreamId::default(), 0)
        };
        let mut groups = Vec::new();
        for _ in 0..self.count()? {
            groups.push(self.group(detail)?);
        }
        if !strictly_ascending(groups.iter().map(|group| group.name.as_slice())) {
            return Err(RecordError("groups are not in order"));
        }
        Ok(Stream {
            detail,
            entries,
            last_id,
            max_deleted_id,
            entries_added,
            groups,
        })
    }

    fn entries(&mut self) -> Result<Entries, RecordError> {
        let mut entries = Entries::default();
        let mut last = None;
        for _ in 0..self.count()? {
            let id = self.id()?;
            ascends(&mut last, id)?;
            let strings = self.count()?;
            if strings % 2 != 0 {
                return Err(RecordError("stream entry has a field without a value"));
            }
            for _ in 0..strings {
                entries.push_string(self.bytes()?);
            }
            entries.close(id);
        }
        Ok(entries)
    }

    fn group(&mut self, detail: StreamDetail) -> Result<Group, RecordError> {
        let name = self.bytes()?.to_vec();
        let last_id = self.id()?;
        let entries_read = if detail >= StreamDetail::Offsets {
            self.u64()?
        } else {
            0
        };
        let mut consumers = Vec::new();
        for _ in 0..self.count()? {
            consumers.push(self.consumer(detail)?);
        }
        if !strictly_ascending(consumers.iter().map(|consumer| consumer.name.as_slice())) {
            return Err(RecordError("consumers are not in order"));
        }
        Ok(Group {
            name,
            last_id,
            entries_read,
            consumers,
        })
    }

    fn consumer(&mut self, detail: StreamDetail) -> Result<Consumer, RecordError> {
        let name = self.bytes()?.to_vec();
        let seen_ms = self.i64()?;
        let active_ms = if detail >= StreamDetail::Activity {
            self.i64()?
        } else {
            0
        };
        let mut pending = Vec::new();
        for _ in 0..self.count()? {
            pending.push(Pending {
                id: self.id()?,
                delivered_ms: self.i64()?,
                deliveries: self.varint()?,
            });
        }
        if !strictly_ascending(pending.iter().map(|one| one.id)) {
            return Err(RecordError("pending entries are not in order"));
        }
        Ok(Consumer {
            name,
            seen_ms,
            active_ms,
            pending,
        })
    }
}

fn ascends<T: Ord + Copy>(last: &mut Option<T>, next: T) -> Result<(), RecordError> {
    if last.is_some_and(|last| last >= next) {
        return Err(RecordError("elements are not in order"));
    }
    *last = Some(next);
    Ok(())
}

fn strictly_ascending<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    items.is_sorted_by(|a, b| a < b)
}
