//! Reads a database key by key: `SCAN`, then value and expiry of each key in one transaction.
//!
//! Each key is whole, but different keys show different instants; a key may come twice. Windows are sized by what the
//! last ones weighed, so that few large answers are in memory at a time.

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Client, Refusal, Value, elements_of, integer_of, text_of, unexpected};
use super::rdb::open_payload;
use super::record::Record;
use super::resp::Batch;
use super::server::parse_time;

/// How many keys a step of the scan asks for.
const STEP_KEYS: &str = "512";
/// About how much one window of values may weigh.
const WINDOW_BYTES: usize = 4 << 20;
const WINDOW_KEYS_FIRST: usize = 16;
const WINDOW_KEYS_MAX: usize = 256;

/// What to read.
pub(super) struct Scan<'a> {
    /// Number of the database.
    pub(super) db: u32,
    /// Only keys that match.
    pub(super) pattern: Option<&'a str>,
    /// The server tells when a key expires, and not only how soon.
    pub(super) absolute_expiry: bool,
}

impl Scan<'_> {
    /// Visits every key, some of them possibly twice.
    pub(super) fn run(
        &self,
        client: &mut Client,
        visit: &mut dyn FnMut(Record) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        client.select(self.db)?;
        let mut window_keys = WINDOW_KEYS_FIRST;
        let mut cursor = "0".to_owned();
        loop {
            let (next, keys) = self.step(client, &cursor)?;
            let mut rest = keys.as_slice();
            while !rest.is_empty() {
                let (window, later) = rest.split_at(window_keys.min(rest.len()));
                let bytes = self.window(client, window, visit)?;
                let each = (bytes / window.len()).max(1);
                window_keys = (WINDOW_BYTES / each).clamp(1, WINDOW_KEYS_MAX);
                rest = later;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
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

    /// Reads some keys and tells how much they weighed.
    fn window(
        &self,
        client: &mut Client,
        keys: &[Vec<u8>],
        visit: &mut dyn FnMut(Record) -> Result<(), SourceError>,
    ) -> Result<usize, SourceError> {
        let act = format!("read keys of database {}", self.db);
        let mut batch = Batch::default();
        batch.push(&["MULTI"]);
        batch.push(&["TIME"]);
        let expiry: &[u8] = if self.absolute_expiry {
            b"PEXPIRETIME"
        } else {
            b"PTTL"
        };
        for key in keys {
            batch.push(&[b"DUMP", key.as_slice()]);
            batch.push(&[expiry, key.as_slice()]);
        }
        batch.push(&["EXEC"]);
        let mut answers = client.pipeline(&act, &batch)?;
        let outcome = answers.pop();
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            return Err(refusal.of(format!("cannot {act} of redis at {}", client.place())));
        }
        let refused =
            |refusal: Refusal| refusal.of(format!("cannot {act} of redis at {}", client.place()));
        let values = outcome
            .transpose()
            .map_err(refused)?
            .and_then(elements_of)
            .filter(|values| values.len() == 2 * keys.len() + 1)
            .ok_or_else(|| unexpected(&act, client.place()))?;
        let mut values = values.into_iter();
        let now_ms = values.next().and_then(parse_time).unwrap_or_default();
        let mut weight = 0;
        for key in keys {
            let (Some(payload), Some(expiry)) = (values.next(), values.next()) else {
                break;
            };
            // Gone meanwhile.
            let Some(payload) = bytes_of(payload) else {
                continue;
            };
            weight += payload.len();
            let expiry = integer_of(&expiry).and_then(|ms| u64::try_from(ms).ok());
            let value = open_payload(&payload).map_err(|error| {
                let act = format!("cannot read key {} of database {}", show_key(key), self.db);
                SourceError::new(SourceErrorKind::Other, act).because(error)
            })?;
            visit(Record {
                key: key.clone(),
                expires_ms: expiry.map(|ms| {
                    if self.absolute_expiry {
                        ms
                    } else {
                        now_ms + ms
                    }
                }),
                value,
            })?;
        }
        Ok(weight)
    }
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
