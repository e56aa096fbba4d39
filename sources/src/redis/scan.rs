//! Reads a database key by key: `SCAN`, then value and expiry of each key in one transaction.
//!
//! Each key is whole, but different keys show different instants; a key may come twice. What a transaction answers lies
//! in the memory of the server until it is read, so windows are sized by what their keys weigh, which is asked before;
//! where it may not be asked, windows begin with one key and grow slowly.

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Client, Refusal, Value, elements_of, integer_of, text_of, unexpected};
use super::rdb::{RdbError, open_payload};
use super::record::Record;
use super::resp::Batch;
use super::server::{check_room, parse_time};

/// How many keys a step of the scan asks for.
const STEP_KEYS: &str = "512";
/// About how much one window of values may weigh, if it is not a single key that does.
const WINDOW_BYTES: u64 = 4 << 20;
const WINDOW_KEYS_MAX: usize = 256;
/// Most keys of a window whose weight is not known.
const BLIND_KEYS_MAX: usize = 16;
/// What the server takes for an answer beside the payload of each key, and for a window.
const KEY_BYTES: u64 = 64;
const SLACK_BYTES: u64 = 64 << 10;
/// How often the expiry of a key is asked for until the clock stood still meanwhile.
const TRIES: usize = 16;

/// What to read.
pub(super) struct Scan<'a> {
    /// Number of the database.
    pub(super) db: u32,
    /// Only keys that match.
    pub(super) pattern: Option<&'a str>,
    /// The server tells when a key expires, and not only how soon.
    pub(super) absolute_expiry: bool,
    /// Fails where the answers would make the server evict keys.
    pub(super) guarded: bool,
}

/// What was seen under a key.
pub(super) enum Seen {
    /// A record.
    Record(Record),
    /// A collection without elements, under this key.
    Empty(Vec<u8>),
}

/// Takes what is seen.
pub(super) type Visit<'v> = dyn FnMut(Seen) -> Result<(), SourceError> + 'v;

/// How many keys to read at a time where nobody says what they weigh.
struct Blind {
    keys: usize,
    /// Of the heaviest key of late.
    bytes: u64,
}

impl Blind {
    /// Learns from a window: the next one has twice its keys at most, and would weigh little if all were as heavy as the
    /// heaviest. That one is forgotten by and by.
    fn learn(&mut self, heaviest: u64) {
        self.bytes = heaviest.max(self.bytes / 2).max(1);
        let fitting = usize::try_from(WINDOW_BYTES / self.bytes).unwrap_or(usize::MAX);
        self.keys = fitting.min(2 * self.keys).clamp(1, BLIND_KEYS_MAX);
    }
}

/// What one transaction answered of some keys.
struct Window {
    now_ms: u64,
    /// The clock stood still while the expiries were asked for, as far as it matters.
    is_exact: bool,
    expiries: Vec<Value>,
    payloads: Vec<Value>,
}

impl Scan<'_> {
    /// Visits every key, some of them possibly twice.
    pub(super) fn run(
        &self,
        client: &mut Client,
        visit: &mut Visit<'_>,
    ) -> Result<(), SourceError> {
        client.select(self.db)?;
        let mut blind = Blind { keys: 1, bytes: 1 };
        let mut cursor = "0".to_owned();
        let mut may_weigh = true;
        loop {
            let (next, keys) = self.step(client, &cursor)?;
            let weights = if may_weigh {
                self.weigh(client, &keys)?
            } else {
                None
            };
            may_weigh = weights.is_some();
            match weights {
                Some(weights) => self.read_weighed(client, &keys, &weights, visit)?,
                None => self.read_blindly(client, &keys, &mut blind, visit)?,
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn read_weighed(
        &self,
        client: &mut Client,
        mut keys: &[Vec<u8>],
        mut weights: &[u64],
        visit: &mut Visit<'_>,
    ) -> Result<(), SourceError> {
        while !keys.is_empty() {
            let mut total = 0_u64;
            let fitting = weights.iter().take(WINDOW_KEYS_MAX).take_while(|weight| {
                total = total.saturating_add(**weight);
                total <= WINDOW_BYTES
            });
            let count = fitting.count().max(1);
            let (window, later) = keys.split_at(count.min(keys.len()));
            let (weighed, rest) = weights.split_at(count.min(weights.len()));
            let bytes = weighed
                .iter()
                .fold(0, |sum: u64, one| sum.saturating_add(*one));
            self.check(client, bytes)?;
            self.read(client, window, visit)?;
            (keys, weights) = (later, rest);
        }
        Ok(())
    }

    fn read_blindly(
        &self,
        client: &mut Client,
        mut keys: &[Vec<u8>],
        blind: &mut Blind,
        visit: &mut Visit<'_>,
    ) -> Result<(), SourceError> {
        while !keys.is_empty() {
            let (window, later) = keys.split_at(blind.keys.min(keys.len()));
            let count = u64::try_from(window.len()).unwrap_or(u64::MAX);
            self.check(client, blind.bytes.saturating_mul(count))?;
            blind.learn(self.read(client, window, visit)?);
            keys = later;
        }
        Ok(())
    }

    fn check(&self, client: &mut Client, bytes: u64) -> Result<(), SourceError> {
        if !self.guarded {
            return Ok(());
        }
        let act = format!("read keys of database {}", self.db);
        check_room(client, &act, bytes.saturating_add(SLACK_BYTES))
    }

    /// What each key takes in the memory of the server, which is about the most that its dump takes; none if nobody says.
    fn weigh(
        &self,
        client: &mut Client,
        keys: &[Vec<u8>],
    ) -> Result<Option<Vec<u64>>, SourceError> {
        let act = format!("weigh keys of database {}", self.db);
        // By all of their elements where it has to be true, which takes as long as the dump itself.
        let samples: &[u8] = if self.guarded { b"0" } else { b"5" };
        let mut batch = Batch::default();
        for key in keys {
            let command: [&[u8]; 5] = [b"MEMORY", b"USAGE", key, b"SAMPLES", samples];
            batch.push(&command);
        }
        let answers = client.pipeline(&act, &batch)?.into_iter();
        // A key that is gone weighs nothing.
        let weight = |value: Value| integer_of(&value).and_then(|bytes| u64::try_from(bytes).ok());
        Ok(answers
            .map(|answer| {
                answer
                    .ok()
                    .map(|value| weight(value).unwrap_or(0) + KEY_BYTES)
            })
            .collect())
    }

    fn step(
        &self,
        client: &mut Client,
        cursor: &str,
    ) -> Result<(String, Vec<Vec<u8>>), SourceError> {
        let act = format!("list the keys of database {}", self.db);
        let mut command = vec!["SCAN", cursor, "COUNT", STEP_KEYS];
        command.extend(self.pattern.iter().flat_map(|pattern| ["MATCH", *pattern]));
        let answer = client.call(&act, &command)?;
        let parsed = elements_of(answer).and_then(|parts| {
            let mut parts = parts.into_iter();
            let next = text_of(&parts.next()?)?;
            let keys = elements_of(parts.next()?)?;
            let keys: Option<Vec<_>> = keys.into_iter().map(bytes_of).collect();
            Some((next, keys?))
        });
        parsed.ok_or_else(|| unexpected(&act, client.place()))
    }

    /// Reads some keys and tells what the heaviest weighed. Where the clock went on while a server told how soon they
    /// expire, fewer are asked for at a time.
    fn read(
        &self,
        client: &mut Client,
        keys: &[Vec<u8>],
        visit: &mut Visit<'_>,
    ) -> Result<u64, SourceError> {
        let mut window = self.window(client, keys)?;
        if !window.is_exact && keys.len() > 1 {
            drop(window);
            let (some, others) = keys.split_at(keys.len() / 2);
            let heaviest = self.read(client, some, visit)?;
            return Ok(heaviest.max(self.read(client, others, visit)?));
        }
        for _ in 1..TRIES {
            if window.is_exact {
                break;
            }
            window = self.window(client, keys)?;
        }
        self.hand_over(keys, window, visit)
    }

    /// Asks for some keys: expiries first, between two looks at the clock, then values.
    fn window(&self, client: &mut Client, keys: &[Vec<u8>]) -> Result<Window, SourceError> {
        let act = format!("read keys of database {}", self.db);
        let mut batch = Batch::default();
        let expiry: &[u8] = if self.absolute_expiry {
            b"PEXPIRETIME"
        } else {
            b"PTTL"
        };
        batch.push(&["MULTI"]);
        batch.push(&["TIME"]);
        keys.iter().for_each(|key| batch.push(&[expiry, key]));
        batch.push(&["TIME"]);
        keys.iter()
            .for_each(|key| batch.push(&[b"DUMP".as_slice(), key]));
        batch.push(&["EXEC"]);
        let mut answers = client.pipeline(&act, &batch)?;
        let outcome = answers.pop();
        let refused =
            |refusal: Refusal| refusal.of(format!("cannot {act} of redis at {}", client.place()));
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            return Err(refused(refusal));
        }
        let values = outcome
            .transpose()
            .map_err(refused)?
            .and_then(elements_of)
            .filter(|values| values.len() == 2 * keys.len() + 2)
            .ok_or_else(|| unexpected(&act, client.place()))?;
        let mut values = values.into_iter();
        let before_ms = values.next().and_then(parse_time);
        let expiries: Vec<Value> = values.by_ref().take(keys.len()).collect();
        let after_ms = values.next().and_then(parse_time);
        let (Some(now_ms), Some(after_ms)) = (before_ms, after_ms) else {
            return Err(unexpected(&act, client.place()));
        };
        let any_expires = expiries.iter().any(|expiry| expiry_of(expiry).is_some());
        Ok(Window {
            now_ms,
            is_exact: self.absolute_expiry || now_ms == after_ms || !any_expires,
            expiries,
            payloads: values.collect(),
        })
    }

    fn hand_over(
        &self,
        keys: &[Vec<u8>],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<u64, SourceError> {
        let from_ms = if self.absolute_expiry {
            0
        } else {
            window.now_ms
        };
        let mut heaviest = 0;
        let answers = window.expiries.iter().zip(window.payloads);
        for (key, (expiry, payload)) in keys.iter().zip(answers) {
            // Gone meanwhile.
            let Some(payload) = bytes_of(payload) else {
                continue;
            };
            heaviest = heaviest.max(u64::try_from(payload.len()).unwrap_or(u64::MAX));
            match open_payload(&payload) {
                Ok(value) => visit(Seen::Record(Record {
                    key: key.clone(),
                    expires_ms: expiry_of(expiry).map(|ms| from_ms.saturating_add(ms)),
                    value,
                }))?,
                Err(RdbError::Empty) => visit(Seen::Empty(key.clone()))?,
                Err(error) => {
                    let act = format!("cannot read key {} of database {}", show_key(key), self.db);
                    return Err(SourceError::new(SourceErrorKind::Other, act).because(error));
                }
            }
        }
        Ok(heaviest)
    }
}

/// Milliseconds; none where a key does not expire, or is not there.
fn expiry_of(answer: &Value) -> Option<u64> {
    integer_of(answer).and_then(|ms| u64::try_from(ms).ok())
}

fn bytes_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        _ => None,
    }
}

/// A key for a message: printable and not too long.
pub(super) fn show_key(key: &[u8]) -> String {
    const SHOWN_BYTES: usize = 100;
    let shown = key.get(..SHOWN_BYTES).unwrap_or(key).escape_ascii();
    let more = if key.len() > SHOWN_BYTES { "…" } else { "" };
    format!("{shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_unknown_weight_grow_slowly_and_shrink_at_once() {
        let mut blind = Blind { keys: 1, bytes: 1 };
        let mut learn = |heaviest| {
            blind.learn(heaviest);
            blind.keys
        };
        assert_eq!([10, 10, 10, 10, 10].map(&mut learn), [2, 4, 8, 16, 16]);
        assert_eq!(learn(20 << 20), 1);
        // 10, 5 and 2.5 MiB are remembered, then 1.25.
        assert_eq!([10; 6].map(learn), [1, 1, 1, 2, 4, 8]);
    }
}
