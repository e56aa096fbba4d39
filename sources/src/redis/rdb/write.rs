//! Writes values in the plain encodings of dumps, which every server since Redis 4 reads and packs as it likes.

use super::compact::back_length;
use crate::redis::record::{Consumer, Entries, Group, Stream, StreamDetail, StreamId, Value};

/// Entries in one node of a stream, at most; what servers use by default.
const NODE_ENTRIES_MAX: usize = 100;
/// Bytes after which a node of a stream is full; what servers use by default.
const NODE_BYTES_MAX: usize = 4096;

const SAME_FIELDS: i64 = 2;

/// Appends the type byte and the value. A stream gets the generation of `detail`.
pub(super) fn put_value(out: &mut Vec<u8>, value: &Value, detail: StreamDetail) {
    match value {
        Value::String(string) => {
            out.push(0);
            put_string(out, string);
        }
        Value::List(strings) => {
            out.push(1);
            put_count(out, strings.len());
            strings.iter().for_each(|string| put_string(out, string));
        }
        Value::Set(members) => {
            out.push(2);
            put_count(out, members.len());
            members.iter().for_each(|member| put_string(out, member));
        }
        Value::SortedSet { members, scores } => {
            out.push(5);
            put_count(out, members.len());
            // From the last to the first: the server then inserts each at the head.
            for (at, score) in scores.iter().enumerate().rev() {
                put_string(out, members.get(at));
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Hash { pairs, expiries } if expiries.is_empty() => {
            out.push(4);
            put_count(out, pairs.len() / 2);
            pairs.iter().for_each(|string| put_string(out, string));
        }
        Value::Hash { pairs, expiries } => {
            let first = expiries
                .iter()
                .copied()
                .filter(|at| *at != 0)
                .min()
                .unwrap_or(0);
            out.push(24);
            out.extend_from_slice(&first.to_le_bytes());
            put_count(out, expiries.len());
            for ((field, value), expiry) in pairs.pairs().zip(expiries) {
                put_length(out, if *expiry == 0 { 0 } else { expiry - first + 1 });
                put_string(out, field);
                put_string(out, value);
            }
        }
        Value::Stream(stream) => put_stream(out, stream, detail),
    }
}

/// Appends a length in its shortest form.
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    let low = |bits: u64| u8::try_from(bits & 0xff).unwrap_or_default();
    if length < 1 << 6 {
        out.push(low(length));
    } else if length < 1 << 14 {
        out.extend_from_slice(&[0x40 | low(length >> 8), low(length)]);
    } else if u32::try_from(length).is_ok() {
        out.push(0x80);
        out.extend((0..4).rev().map(|byte| low(length >> (8 * byte))));
    } else {
        out.push(0x81);
        out.extend(network_bytes(length));
    }
}

fn network_bytes(number: u64) -> impl Iterator<Item = u8> {
    number.to_le_bytes().into_iter().rev()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    put_length(out, u64::try_from(count).unwrap_or(u64::MAX));
}

/// Appends a string as it is.
pub(super) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_count(out, string.len());
    out.extend_from_slice(string);
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_length(out, id.ms);
    put_length(out, id.seq);
}

fn put_raw_id(out: &mut Vec<u8>, id: StreamId) {
    out.extend(network_bytes(id.ms).chain(network_bytes(id.seq)));
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream, detail: StreamDetail) {
    // What the capture could not know is not made up: the server estimates it from an older generation.
    let detail = detail.min(stream.detail);
    out.push(match detail {
        StreamDetail::Basic => 15,
        StreamDetail::Offsets => 19,
        StreamDetail::Activity => 21,
    });
    let nodes = nodes_of(&stream.entries);
    put_count(out, nodes.len());
    for (first, packed) in nodes {
        let mut key = Vec::with_capacity(16);
        put_raw_id(&mut key, first);
        put_string(out, &key);
        put_string(out, &packed);
    }
    put_count(out, stream.entries.len());
    put_id(out, stream.last_id);
    if detail >= StreamDetail::Offsets {
        put_id(out, stream.entries.first_id());
        put_id(out, stream.max_deleted_id);
        put_length(out, stream.entries_added);
    }
    put_count(out, stream.groups.len());
    for group in &stream.groups {
        put_group(out, group, detail);
    }
}

fn put_group(out: &mut Vec<u8>, group: &Group, detail: StreamDetail) {
    put_string(out, &group.name);
    put_id(out, group.last_id);
    if detail >= StreamDetail::Offsets {
        put_length(out, group.entries_read);
    }
    let mut pending: Vec<_> = group
        .consumers
        .iter()
        .flat_map(|consumer| &consumer.pending)
        .collect();
    pending.sort_by_key(|one| one.id);
    put_count(out, pending.len());
    for one in pending {
        put_raw_id(out, one.id);
        out.extend_from_slice(&one.delivered_ms.to_le_bytes());
        put_length(out, one.deliveries);
    }
    put_count(out, group.consumers.len());
    for consumer in &group.consumers {
        put_consumer(out, consumer, detail);
    }
}

fn put_consumer(out: &mut Vec<u8>, consumer: &Consumer, detail: StreamDetail) {
    put_string(out, &consumer.name);
    out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
    if detail >= StreamDetail::Activity {
        out.extend_from_slice(&consumer.active_ms.to_le_bytes());
    }
    put_count(out, consumer.pending.len());
    consumer
        .pending
        .iter()
        .for_each(|one| put_raw_id(out, one.id));
}

/// Packs entries into nodes: the id of the first entry, and a listpack.
fn nodes_of(entries: &Entries) -> Vec<(StreamId, Vec<u8>)> {
    let all: Vec<_> = entries.iter().collect();
    let mut nodes = Vec::new();
    let mut rest = all.as_slice();
    while let Some((first, _)) = rest.first() {
        let mut bytes = 0;
        let fits = |(_, strings): &&(StreamId, Vec<&[u8]>)| {
            let room = bytes < NODE_BYTES_MAX;
            bytes += strings.iter().map(|string| string.len() + 2).sum::<usize>() + 8;
            room
        };
        let count = rest.iter().take(NODE_ENTRIES_MAX).take_while(fits).count();
        let (node, later) = rest.split_at(count.max(1));
        nodes.push((*first, pack_node(*first, node)));
        rest = later;
    }
    nodes
}

fn pack_node(first: StreamId, entries: &[(StreamId, Vec<&[u8]>)]) -> Vec<u8> {
    let fields: Vec<&[u8]> = entries
        .first()
        .map(|(_, strings)| strings.iter().copied().step_by(2).collect())
        .unwrap_or_default();
    let mut pack = Listpack::new();
    pack.count(entries.len());
    pack.integer(0); // No entry is marked as deleted.
    pack.count(fields.len());
    pack.strings(&fields);
    pack.integer(0);
    for (id, strings) in entries {
        let same = strings.iter().step_by(2).eq(&fields);
        pack.integer(if same { SAME_FIELDS } else { 0 });
        pack.integer(id.ms.wrapping_sub(first.ms).cast_signed());
        pack.integer(id.seq.wrapping_sub(first.seq).cast_signed());
        if same {
            strings
                .iter()
                .skip(1)
                .step_by(2)
                .for_each(|value| pack.string(value));
            pack.count(strings.len() / 2 + 3);
        } else {
            pack.count(strings.len() / 2);
            pack.strings(strings);
            pack.count(strings.len() + 4);
        }
    }
    pack.finish()
}

/// A listpack in the making.
struct Listpack {
    bytes: Vec<u8>,
    elements: u64,
}

impl Listpack {
    fn new() -> Self {
        Self {
            bytes: vec![0; 6],
            elements: 0,
        }
    }

    fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn integer(&mut self, number: i64) {
        let start = self.bytes.len();
        let bytes = number.to_le_bytes();
        let (tag, width) = match number {
            0..=127 => (None, 1),
            -0x8000..=0x7fff => (Some(0xf1), 2),
            -0x80_0000..=0x7f_ffff => (Some(0xf2), 3),
            -0x8000_0000..=0x7fff_ffff => (Some(0xf3), 4),
            _ => (Some(0xf4), 8),
        };
        self.bytes.extend(tag);
        self.bytes.extend(bytes.iter().take(width));
        self.close(start);
    }

    fn strings(&mut self, strings: &[&[u8]]) {
        for string in strings {
            self.string(string);
        }
    }

    /// A string. Those that are integers are stored as such: the server expects it where it compares fields.
    fn string(&mut self, string: &[u8]) {
        if let Some(number) = as_integer(string) {
            return self.integer(number);
        }
        let start = self.bytes.len();
        let length = string.len();
        let low = u8::try_from(length & 0xff).unwrap_or_default();
        match length {
            0..=0x3f => self.bytes.push(0x80 | low),
            0x40..=0xfff => {
                let high = u8::try_from(length >> 8).unwrap_or_default();
                self.bytes.extend_from_slice(&[0xe0 | high, low]);
            }
            _ => {
                self.bytes.push(0xf0);
                self.bytes.extend(length.to_le_bytes().iter().take(4));
            }
        }
        self.bytes.extend_from_slice(string);
        self.close(start);
    }

    /// Ends an element with its length, seven bits a byte, the most significant first.
    fn close(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        let width = back_length(length);
        for place in (0..width).rev() {
            let bits = u8::try_from(length >> (7 * place) & 0x7f).unwrap_or_default();
            let more = if place + 1 == width { 0 } else { 0x80 };
            self.bytes.push(bits | more);
        }
        self.elements += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0xff);
        let total = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let count = u16::try_from(self.elements).unwrap_or(u16::MAX);
        let head = total.to_le_bytes().into_iter().chain(count.to_le_bytes());
        for (byte, value) in self.bytes.iter_mut().zip(head) {
            *byte = value;
        }
        self.bytes
    }
}

/// The integer whose decimal text this is, exactly.
fn as_integer(string: &[u8]) -> Option<i64> {
    if string.len() > 20 {
        return None;
    }
    let text = std::str::from_utf8(string).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
