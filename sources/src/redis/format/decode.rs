//! Decodes records: every length against what is left, every order checked, nothing trusted.

use super::{EXPIRES, RecordError};
use crate::redis::record::{
    Consumer, Entries, Group, Pending, Stream, StreamDetail, StreamId, Strings, Value,
};

/// Bytes that are being decoded.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not decoded yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(RecordError("ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
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

    pub(super) fn varint(&mut self) -> Result<u64, RecordError> {
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
    pub(super) fn count(&mut self) -> Result<usize, RecordError> {
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

    pub(super) fn head(&mut self) -> Result<(u8, Option<u64>, Vec<u8>), RecordError> {
        let tag = self.u8()?;
        let expires_ms = if tag & EXPIRES != 0 {
            Some(self.u64()?)
        } else {
            None
        };
        Ok((tag & !EXPIRES, expires_ms, self.bytes()?.to_vec()))
    }

    pub(super) fn value(&mut self, tag: u8) -> Result<Value, RecordError> {
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
