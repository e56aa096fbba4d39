//! Streams in dumps: runs of entries in listpacks, then groups with pending entries and consumers.

use std::collections::BTreeMap;
use std::io::Read;

use super::compact::{self, Element};
use super::input::network_order;
use super::{Input, RdbError};
use crate::redis::format::RECORD_BYTES_MAX;
use crate::redis::record::{
    Consumer, Entries, Group, Pending, Stream, StreamDetail, StreamId, Value,
};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Reads a stream of one of the three generations.
pub(super) fn read_stream<R: Read>(
    input: &mut Input<R>,
    detail: StreamDetail,
) -> Result<Value, RdbError> {
    let mut entries = Entries::default();
    for _ in 0..input.length()? {
        let first = node_id(&input.string()?)?;
        read_node(first, &input.string()?, &mut entries, RECORD_BYTES_MAX)?;
    }
    if !entries.iter().map(|(id, _)| id).is_sorted_by(|a, b| a < b) {
        return Err(RdbError::Corrupt("entries of a stream are not in order"));
    }
    let count = input.length()?;
    if u64::try_from(entries.len()) != Ok(count) {
        return Err(RdbError::Corrupt(
            "a stream has another length than it says",
        ));
    }
    let last_id = read_id(input)?;
    let mut stream = Stream {
        detail,
        entries,
        last_id,
        max_deleted_id: StreamId::default(),
        entries_added: 0,
        groups: Vec::new(),
    };
    if detail >= StreamDetail::Offsets {
        read_id(input)?; // The first id follows from the entries.
        stream.max_deleted_id = read_id(input)?;
        stream.entries_added = input.length()?;
    }
    for _ in 0..input.length()? {
        stream.groups.push(read_group(input, detail)?);
    }
    stream.groups.sort_by(|a, b| a.name.cmp(&b.name));
    if !stream.groups.is_sorted_by(|a, b| a.name < b.name) {
        return Err(RdbError::Corrupt("a group occurs twice"));
    }
    Ok(Value::Stream(Box::new(stream)))
}

fn node_id(bytes: &[u8]) -> Result<StreamId, RdbError> {
    let (ms, seq) = bytes
        .split_at_checked(8)
        .filter(|(_, seq)| seq.len() == 8)
        .ok_or(RdbError::Corrupt(
            "a stream node has a key of another length",
        ))?;
    Ok(StreamId {
        ms: network_order(ms),
        seq: network_order(seq),
    })
}

fn raw_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, RdbError> {
    node_id(&input.array::<16>()?)
}

fn read_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, RdbError> {
    Ok(StreamId {
        ms: input.length()?,
        seq: input.length()?,
    })
}

/// Reads one node: counts, the fields of its first entry, then entries that refer to them. A field is in the dump once
/// and in a record with each entry, so that a short dump can stand for much more than memory holds.
pub(super) fn read_node(
    first: StreamId,
    packed: &[u8],
    entries: &mut Entries,
    bytes_max: u64,
) -> Result<(), RdbError> {
    let mut elements = Vec::new();
    compact::listpack(packed, |element| {
        elements.push(element);
        Ok(())
    })?;
    let mut elements = elements.into_iter();
    let mut next = || {
        elements
            .next()
            .ok_or(RdbError::Corrupt("a stream node ends early"))
    };
    let live = next()?.integer()?;
    let deleted = next()?.integer()?;
    let field_count = next()?.integer()?;
    let mut fields = Vec::new();
    for _ in 0..field_count {
        fields.push(next()?);
    }
    next()?; // Ends the head.
    let total = live
        .checked_add(deleted)
        .ok_or(RdbError::Corrupt("a stream node has an impossible count"))?;
    for _ in 0..total {
        read_entry(first, &fields, &mut next, entries)?;
        if u64::try_from(entries.size_bytes()).unwrap_or(u64::MAX) > bytes_max {
            let what = format!("a stream with more than {bytes_max} bytes of entries");
            return Err(RdbError::Unsupported(what));
        }
    }
    if next().is_ok() {
        return Err(RdbError::Corrupt(
            "elements follow the entries of a stream node",
        ));
    }
    Ok(())
}

fn read_entry<'a>(
    first: StreamId,
    fields: &[Element<'a>],
    next: &mut impl FnMut() -> Result<Element<'a>, RdbError>,
    entries: &mut Entries,
) -> Result<(), RdbError> {
    let flags = next()?.integer()?;
    let id = StreamId {
        ms: first.ms.wrapping_add_signed(next()?.integer()?),
        seq: first.seq.wrapping_add_signed(next()?.integer()?),
    };
    let keep = flags & DELETED == 0;
    let mut scratch = Vec::new();
    let mut push = |element: Element<'a>| {
        if keep {
            entries.push_string(element.text(&mut scratch));
        }
    };
    if flags & SAME_FIELDS != 0 {
        for field in fields {
            push(*field);
            push(next()?);
        }
    } else {
        for _ in 0..next()?.integer()? {
            push(next()?);
            push(next()?);
        }
    }
    next()?; // Length of the entry, for walking backwards.
    if keep {
        entries.close(id);
    }
    Ok(())
}

fn read_group<R: Read>(input: &mut Input<R>, detail: StreamDetail) -> Result<Group, RdbError> {
    let name = input.string()?;
    let last_id = read_id(input)?;
    let entries_read = if detail >= StreamDetail::Offsets {
        input.length()?
    } else {
        0
    };
    let mut pending = BTreeMap::new();
    for _ in 0..input.length()? {
        let id = raw_id(input)?;
        let delivered_ms = input.i64_le()?;
        let deliveries = input.length()?;
        pending.insert(
            id,
            Pending {
                id,
                delivered_ms,
                deliveries,
            },
        );
    }
    let mut consumers = Vec::new();
    for _ in 0..input.length()? {
        consumers.push(read_consumer(input, detail, &mut pending)?);
    }
    if !pending.is_empty() {
        return Err(RdbError::Corrupt("a pending entry belongs to no consumer"));
    }
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    if !consumers.is_sorted_by(|a, b| a.name < b.name) {
        return Err(RdbError::Corrupt("a consumer occurs twice"));
    }
    Ok(Group {
        name,
        last_id,
        entries_read,
        consumers,
    })
}

fn read_consumer<R: Read>(
    input: &mut Input<R>,
    detail: StreamDetail,
    of_group: &mut BTreeMap<StreamId, Pending>,
) -> Result<Consumer, RdbError> {
    let name = input.string()?;
    let seen_ms = input.i64_le()?;
    let active_ms = if detail >= StreamDetail::Activity {
        input.i64_le()?
    } else {
        0
    };
    let mut pending = Vec::new();
    for _ in 0..input.length()? {
        let id = raw_id(input)?;
        pending.push(of_group.remove(&id).ok_or(RdbError::Corrupt(
            "a consumer has a pending entry that its group has not",
        ))?);
    }
    pending.sort_by_key(|one| one.id);
    Ok(Consumer {
        name,
        seen_ms,
        active_ms,
        pending,
    })
}
