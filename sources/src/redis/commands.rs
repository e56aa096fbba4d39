//! Commands that make a key: what an export writes, and what a restore sends where a value is too large for one dump.
use super::record::{Consumer, Group, Record, Stream, StreamDetail, StreamId, Strings, Value};

/// Most strings of one command.
const STRINGS_MAX: usize = 512;
/// Bytes after which a command takes no more strings.
const BYTES_MAX: usize = 1 << 20;

/// Takes one command as its arguments.
pub(super) type Put<'p, E> = dyn FnMut(&[&[u8]]) -> Result<(), E> + 'p;

/// Hands one command at a time to `put`, as its arguments.
pub(super) fn commands_of<E>(record: &Record, put: &mut Put<'_, E>) -> Result<(), E> {
    let key = record.key.as_slice();
    match &record.value {
        Value::String(string) => put(&[b"SET", key, string])?,
        Value::List(strings) => append(b"RPUSH", key, strings, 1, put)?,
        Value::Set(members) => append(b"SADD", key, members, 1, put)?,
        Value::SortedSet { members, scores } => {
            let mut strings = Strings::new();
            for (member, score) in members.iter().zip(scores) {
                strings.push(score_text(*score).as_bytes());
                strings.push(member);
            }
            append(b"ZADD", key, &strings, 2, put)?;
        }
        Value::Hash { pairs, expiries } => {
            append(b"HSET", key, pairs, 2, put)?;
            for ((field, _), at) in pairs.pairs().zip(expiries).filter(|(_, at)| **at != 0) {
                let at = at.to_string();
                put(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field])?;
            }
        }
        Value::Stream(stream) => {
            entries(key, stream, put)?;
            frame(key, stream, put)?;
            for group in &stream.groups {
                create_group(key, group, stream.detail, put)?;
            }
        }
    }
    expire(record, put)
}

/// The command that sets the expiry, if there is one.
pub(super) fn expire<E>(record: &Record, put: &mut Put<'_, E>) -> Result<(), E> {
    match record.expires_ms {
        Some(at) => put(&[b"PEXPIREAT", &record.key, at.to_string().as_bytes()]),
        None => Ok(()),
    }
}

/// Adds the entries of a stream.
pub(super) fn entries<E>(key: &[u8], stream: &Stream, put: &mut Put<'_, E>) -> Result<(), E> {
    for (id, strings) in stream.entries.iter() {
        let id = id.to_string();
        let mut arguments: Vec<&[u8]> = vec![b"XADD", key, id.as_bytes()];
        arguments.extend(strings);
        put(&arguments)?;
    }
    Ok(())
}

/// Sets what a stream knows beside its entries; makes a stream without entries first.
fn frame<E>(key: &[u8], stream: &Stream, put: &mut Put<'_, E>) -> Result<(), E> {
    if stream.entries.is_empty() {
        // There is no command for an empty stream: a group makes one and is taken away again.
        const NOBODY: &[u8] = b"keepstone:nobody";
        put(&[b"XGROUP", b"CREATE", key, NOBODY, b"$", b"MKSTREAM"])?;
        put(&[b"XGROUP", b"DESTROY", key, NOBODY])?;
    }
    set_id(key, stream, put)
}

/// Sets the last id and the counters of a stream.
pub(super) fn set_id<E>(key: &[u8], stream: &Stream, put: &mut Put<'_, E>) -> Result<(), E> {
    let last = stream.last_id.to_string();
    if stream.detail < StreamDetail::Offsets {
        return put(&[b"XSETID", key, last.as_bytes()]);
    }
    let added = stream.entries_added.to_string();
    let deleted = stream.max_deleted_id.to_string();
    put(&[
        b"XSETID",
        key,
        last.as_bytes(),
        b"ENTRIESADDED",
        added.as_bytes(),
        b"MAXDELETEDID",
        deleted.as_bytes(),
    ])
}

fn create_group<E>(
    key: &[u8],
    group: &Group,
    detail: StreamDetail,
    put: &mut Put<'_, E>,
) -> Result<(), E> {
    let name = group.name.as_slice();
    let last = group.last_id.to_string();
    if detail >= StreamDetail::Offsets {
        // All ones is what the server knows as -1.
        let read = group.entries_read.cast_signed().to_string();
        let last = last.as_bytes();
        put(&[
            b"XGROUP",
            b"CREATE",
            key,
            name,
            last,
            b"ENTRIESREAD",
            read.as_bytes(),
        ])?;
    } else {
        put(&[b"XGROUP", b"CREATE", key, name, last.as_bytes()])?;
    }
    for consumer in &group.consumers {
        put(&[b"XGROUP", b"CREATECONSUMER", key, name, &consumer.name])?;
        claim(key, group, consumer, put)?;
    }
    Ok(())
}

/// Gives a consumer its pending entries, those of one delivery together.
fn claim<E>(key: &[u8], group: &Group, consumer: &Consumer, put: &mut Put<'_, E>) -> Result<(), E> {
    let same = |a: &super::record::Pending, b: &super::record::Pending| {
        (a.delivered_ms, a.deliveries) == (b.delivered_ms, b.deliveries)
    };
    for run in consumer.pending.chunk_by(same) {
        for part in run.chunks(STRINGS_MAX) {
            let ids: Vec<String> = part.iter().map(|one| one.id.to_string()).collect();
            let Some(first) = part.first() else {
                continue;
            };
            let time = first.delivered_ms.to_string();
            let count = first.deliveries.to_string();
            let mut arguments: Vec<&[u8]> = vec![b"XCLAIM", key, &group.name, &consumer.name, b"0"];
            arguments.extend(ids.iter().map(String::as_bytes));
            let how: [&[u8]; 6] = [
                b"TIME",
                time.as_bytes(),
                b"RETRYCOUNT",
                count.as_bytes(),
                b"FORCE",
                b"JUSTID",
            ];
            arguments.extend(how);
            put(&arguments)?;
        }
    }
    Ok(())
}

/// Appends strings to a collection by as many commands as it takes; `each` strings belong together.
fn append<E>(
    command: &[u8],
    key: &[u8],
    strings: &Strings,
    each: usize,
    put: &mut Put<'_, E>,
) -> Result<(), E> {
    let mut arguments: Vec<&[u8]> = vec![command, key];
    let mut bytes = 0;
    for at in 0..strings.len() {
        let string = strings.get(at);
        arguments.push(string);
        bytes += string.len();
        let whole = (at + 1) % each == 0;
        if whole && (arguments.len() >= STRINGS_MAX || bytes >= BYTES_MAX) {
            put(&arguments)?;
            arguments.truncate(2);
            bytes = 0;
        }
    }
    if arguments.len() > 2 {
        put(&arguments)?;
    }
    Ok(())
}

/// A score as text that reads back to the same number.
fn score_text(score: f64) -> String {
    if score.is_infinite() {
        return if score > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let plain = (1e-5..1e17).contains(&score.abs()) || score == 0.0;
    if plain {
        format!("{score}")
    } else {
        format!("{score:e}")
    }
}

/// A stream without its entries and as it was before the first, so that they can be added.
pub(super) fn without_entries(stream: &Stream) -> Stream {
    Stream {
        entries: super::record::Entries::default(),
        last_id: StreamId::default(),
        max_deleted_id: StreamId::default(),
        entries_added: 0,
        ..stream.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_read_back_to_the_same_bits() {
        for score in [
            0.0,
            1.0,
            -2.5,
            0.1,
            1e300,
            -1e-300,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            1e17,
            123_456_789.125,
        ] {
            let text = score_text(score);
            assert_eq!(
                text.parse::<f64>().unwrap().to_bits(),
                score.to_bits(),
                "{text}"
            );
            assert!(text.len() < 30, "{text}");
        }
        assert_eq!(score_text(f64::NEG_INFINITY), "-inf");
    }

    #[test]
    fn large_collections_take_several_commands() {
        let strings: Strings = (0..2_000_u32).map(|n| n.to_string().into_bytes()).collect();
        let record = Record {
            key: b"k".to_vec(),
            expires_ms: Some(7),
            value: Value::hash(&strings, &[]).unwrap(),
        };
        let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
        let put = &mut |arguments: &[&[u8]]| {
            commands.push(arguments.iter().map(|one| one.to_vec()).collect());
            Ok::<(), ()>(())
        };
        commands_of(&record, put).unwrap();
        let total: usize = commands
            .iter()
            .filter(|c| c[0] == b"HSET")
            .map(|c| c.len() - 2)
            .sum();
        assert_eq!(total, 2_000);
        assert!(commands.len() > 4 && commands.iter().all(|c| c.len() <= STRINGS_MAX + 2));
        assert_eq!(
            commands.last().unwrap(),
            &[b"PEXPIREAT".to_vec(), b"k".to_vec(), b"7".to_vec()]
        );
    }
}
