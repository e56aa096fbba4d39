//! Collects canonical records, from a dump or key by key, and sorts them by database and key.
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Client, Value as Reply, elements_of, text_of};
use super::format::{RECORD_BYTES_MAX, encode_record};
use super::glob;
use super::marker::{MARKER_KEY, Marker, OWN_KEYS, Stage};
use super::rdb::{Event, RdbError, RdbReader};
use super::record::{Record, Value};
use super::replica::{Framing, Replica, stream_failure};
use super::scan::{Scan, Seen, show_key};
use super::server::ServerFacts;
use super::settings::RedisSettings;
use super::sort::{Sorted, Sorter};

/// Libraries of functions: their code by name.
pub(super) type Libraries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What was collected, sorted.
pub(super) struct Collected {
    /// Records under sort keys.
    pub(super) sorted: Sorted,
    /// Libraries of functions by name; none where the server has none or may not say.
    pub(super) functions: Option<Libraries>,
    /// Databases that hold what a restore has staged or kept: left out.
    pub(super) left_out: BTreeSet<u32>,
    /// Sentences for the user.
    pub(super) warnings: Vec<String>,
}

/// Takes records as they come.
pub(super) struct Collector {
    settings: RedisSettings,
    sorter: Sorter,
    sort_key: Vec<u8>,
    bytes: Vec<u8>,
    functions: Option<Libraries>,
    left_out: BTreeSet<u32>,
    /// Keys without elements: how many, and the first of them.
    empty: BTreeMap<u32, (u64, Vec<u8>)>,
    warnings: Vec<String>,
    instant_ms: u64,
}

impl Collector {
    /// Starts with nothing. Keys that expired before the instant are not there any more.
    pub(super) fn new(settings: &RedisSettings, instant_ms: u64) -> Self {
        Self {
            sorter: Sorter::new(
                settings.sort_bytes_max,
                settings.spool_bytes_max,
                settings.spool_folder.clone(),
            ),
            settings: settings.clone(),
            sort_key: Vec::new(),
            bytes: Vec::new(),
            functions: None,
            left_out: BTreeSet::new(),
            empty: BTreeMap::new(),
            warnings: Vec::new(),
            instant_ms,
        }
    }

    /// Reads a whole dump and proves its end.
    pub(super) fn dump(
        mut self,
        replica: &mut Replica,
        functions: bool,
    ) -> Result<Collected, SourceError> {
        let length = match &replica.framing {
            Framing::Length(length) => *length,
            Framing::Mark(_) => u64::MAX,
        };
        if functions {
            self.functions = Some(BTreeMap::new());
        }
        let act = format!(
            "cannot read the dump of redis at {}",
            self.settings.host_and_port()
        );
        let mut reader = RdbReader::new((&mut replica.stream).take(length))
            .map_err(|error| failed(&act, error))?;
        loop {
            match reader.next_event() {
                Ok(Some(event)) => self.event(event)?,
                Ok(None) => break,
                Err(error) => {
                    let (db, key) = reader.position();
                    return Err(match error {
                        RdbError::Corrupt(_) | RdbError::Unsupported(_) if !key.is_empty() => {
                            let key = show_key(key);
                            failed(&format!("cannot read key {key} of database {db}"), error)
                        }
                        error => failed(&act, error),
                    });
                }
            }
        }
        let mut behind = reader.into_input();
        let proved = match &replica.framing {
            Framing::Length(length) => behind.consumed() == *length,
            Framing::Mark(mark) => {
                behind
                    .take(mark.len())
                    .map_err(|error| failed(&act, error))?
                    == *mark
            }
        };
        replica.breaker.break_off();
        if !proved {
            return Err(failed(
                &act,
                RdbError::Corrupt("it does not end where it says"),
            ));
        }
        self.finish()
    }

    /// Reads key by key.
    pub(super) fn scan(
        mut self,
        client: &mut Client,
        facts: Option<&ServerFacts>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Collected, SourceError> {
        if facts.is_none() {
            self.warnings.push(
                "the user may not read INFO: only one database was captured, and expiries may be \
                 off by a millisecond"
                    .to_owned(),
            );
        }
        let is_seven = facts.is_some_and(ServerFacts::is_seven);
        let databases: Vec<u32> = match (self.settings.db, facts) {
            (Some(db), _) => vec![db],
            (None, Some(facts)) => facts.keys.keys().copied().collect(),
            (None, None) => vec![0],
        };
        let pattern = self.settings.key_pattern.clone();
        for db in databases {
            let scan = Scan {
                db,
                pattern: pattern.as_deref(),
                absolute_expiry: is_seven,
                guarded: false,
            };
            scan.run(client, &mut |key| {
                if cancelled() {
                    return Err(super::capture::cancelled());
                }
                match key {
                    Seen::Record(record) => self.record(db, record),
                    Seen::Empty(key) => {
                        self.empty(db, key);
                        Ok(())
                    }
                }
            })?;
            self.look_for_marker(client, db)?;
        }
        if is_seven {
            self.functions = read_functions(client)?;
            if self.functions.is_none() {
                let text = "the user may not list functions: they were not captured";
                self.warnings.push(text.to_owned());
            }
        }
        self.finish()
    }

    /// A pattern may hide the marker from the scan.
    fn look_for_marker(&mut self, client: &mut Client, db: u32) -> Result<(), SourceError> {
        let value = client.ask("read a key", &["GET".as_bytes(), MARKER_KEY])?;
        if let Some(text) = value.ok().as_ref().and_then(text_of) {
            self.marker(db, text.as_bytes());
        }
        Ok(())
    }

    /// A database that a restore works in is no data; the mark of one that was undone says nothing of what is there now.
    fn marker(&mut self, db: u32, value: &[u8]) {
        let is_at_work = |marker: Marker| marker.stage != Stage::Undone;
        if self.settings.db != Some(db) && Marker::parse(value).is_some_and(is_at_work) {
            self.left_out.insert(db);
        }
    }

    /// What restores have noted for themselves is not captured: no restore would take it.
    fn note(&mut self, db: u32, record: &Record) {
        if record.key != MARKER_KEY {
            return;
        }
        match &record.value {
            Value::String(value) if Marker::parse(value).is_some() => self.marker(db, value),
            _ if self.is_wanted(db, &record.key) => self.warnings.push(format!(
                "key {} of database {db} was left out: restores keep their own notes under that name",
                show_key(&record.key)
            )),
            _ => {}
        }
    }

    fn empty(&mut self, db: u32, key: Vec<u8>) {
        if self.is_wanted(db, &key) {
            self.empty.entry(db).or_insert((0, key)).0 += 1;
        }
    }

    fn is_wanted(&self, db: u32, key: &[u8]) -> bool {
        self.settings.db.is_none_or(|wanted| wanted == db)
            && matches_pattern(self.settings.key_pattern.as_deref(), key)
    }

    fn event(&mut self, event: Event) -> Result<(), SourceError> {
        match event {
            Event::Key { db, record } => self.record(db, record)?,
            Event::Empty { db, key } => self.empty(db, key),
            Event::Function(code) => {
                let functions = self.functions.get_or_insert_default();
                functions.insert(library_name(&code), code);
            }
            Event::Aux { name, value } if name == b"ctime" => {
                let seconds = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                self.instant_ms = seconds.map_or(0, |seconds: u64| seconds.saturating_mul(1000));
            }
            Event::Aux { .. } => {}
            Event::ModuleAux(module) => self.warnings.push(format!(
                "the module {module} keeps data beside the keys, which was not captured"
            )),
        }
        Ok(())
    }

    fn record(&mut self, db: u32, record: Record) -> Result<(), SourceError> {
        if OWN_KEYS.contains(&record.key.as_slice()) {
            self.note(db, &record);
            return Ok(());
        }
        let wanted = self.is_wanted(db, &record.key);
        let Some(record) = Some(record)
            .filter(|_| wanted)
            .and_then(|record| record.at(self.instant_ms))
        else {
            return Ok(());
        };
        self.bytes.clear();
        encode_record(&record, &mut self.bytes);
        if u64::try_from(self.bytes.len()).unwrap_or(u64::MAX) > RECORD_BYTES_MAX {
            let key = show_key(&record.key);
            return Err(SourceError::new(
                SourceErrorKind::Other,
                format!("cannot capture key {key} of database {db}"),
            )
            .because(format!("its value is larger than {RECORD_BYTES_MAX} bytes")));
        }
        sort_key(&mut self.sort_key, db, &record.key);
        self.sorter
            .push(&self.sort_key, &self.bytes)
            .map_err(|error| spool_failed(&self.settings, error))
    }

    fn finish(mut self) -> Result<Collected, SourceError> {
        for (db, (count, key)) in std::mem::take(&mut self.empty) {
            let key = show_key(&key);
            self.warnings.push(format!(
                "keys of database {db} without any element were left out, as servers do when they load them: \
                 {count}, the first is {key}"
            ));
        }
        let sorted = self.sorter.finish();
        Ok(Collected {
            sorted: sorted.map_err(|error| spool_failed(&self.settings, error))?,
            functions: self.functions,
            left_out: self.left_out,
            warnings: self.warnings,
        })
    }
}

/// Whether a key is wanted.
pub(super) fn matches_pattern(pattern: Option<&str>, key: &[u8]) -> bool {
    pattern.is_none_or(|pattern| glob::matches(pattern.as_bytes(), key))
}

/// Database number as text, a zero byte, the key: sorts databases in the order of their paths.
fn sort_key(out: &mut Vec<u8>, db: u32, key: &[u8]) {
    out.clear();
    out.extend_from_slice(db.to_string().as_bytes());
    out.push(0);
    out.extend_from_slice(key);
}

/// Takes a sort key apart.
pub(super) fn split_sort_key(sort_key: &[u8]) -> (u32, &[u8]) {
    let end = sort_key
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or_default();
    let (db, key) = sort_key.split_at_checked(end).unwrap_or_default();
    let db = std::str::from_utf8(db)
        .ok()
        .and_then(|text| text.parse().ok());
    (db.unwrap_or_default(), key.get(1..).unwrap_or_default())
}

/// A spool that fails is the client's disk, not the server.
pub(super) fn spool_failed(settings: &RedisSettings, error: std::io::Error) -> SourceError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let full = [FileTooLarge, QuotaExceeded, StorageFull].contains(&error.kind());
    let kind = if full {
        SourceErrorKind::NoSpace
    } else {
        SourceErrorKind::Other
    };
    let folder = settings.spool_folder.display();
    SourceError::new(kind, format!("cannot sort keys in a spool in {folder}")).because(error)
}

/// The name that a library gives itself on its first line.
pub(super) fn library_name(code: &[u8]) -> Vec<u8> {
    code.split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .find_map(|word| word.strip_prefix(b"name="))
        .unwrap_or_default()
        .to_vec()
}

/// Libraries of functions by name; none if the user may not list them.
pub(super) fn read_functions(client: &mut Client) -> Result<Option<Libraries>, SourceError> {
    let answer = client.ask("list the functions", &["FUNCTION", "LIST", "WITHCODE"])?;
    let libraries = match answer {
        Ok(value) => elements_of(value).unwrap_or_default(),
        Err(refusal) if refusal.is_not_allowed() => return Ok(None),
        Err(refusal) => {
            let act = format!("cannot list the functions of redis at {}", client.place());
            return Err(refusal.of(act));
        }
    };
    let code_of = |library: Reply| {
        let mut parts = elements_of(library)?.into_iter();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            if text_of(&name)? == "library_code"
                && let Reply::BulkString(code) = value
            {
                return Some((library_name(&code), code));
            }
        }
        None
    };
    Ok(Some(libraries.into_iter().filter_map(code_of).collect()))
}

fn failed(act: &str, error: RdbError) -> SourceError {
    let kind = match error {
        RdbError::Io(error) => return stream_failure(act, error),
        RdbError::Truncated => SourceErrorKind::Interrupted,
        RdbError::Corrupt(_) | RdbError::Empty => SourceErrorKind::Corrupt,
        RdbError::Unsupported(_) => SourceErrorKind::Other,
    };
    SourceError::new(kind, act).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(db: u32, key: &[u8], value: &[u8]) -> Event {
        Event::Key {
            db,
            record: Record {
                key: key.to_vec(),
                expires_ms: None,
                value: Value::String(value.to_vec()),
            },
        }
    }

    /// Keys by database.
    type Kept = Vec<(u32, Vec<u8>)>;

    /// What is kept of some events; what was left out; what is told.
    fn collected(events: Vec<Event>) -> (Kept, Vec<u32>, Vec<String>) {
        let mut collector = Collector::new(&RedisSettings::new("h", 1), 0);
        for event in events {
            collector.event(event).unwrap();
        }
        let mut collected = collector.finish().unwrap();
        let mut kept = Vec::new();
        while let Some((sort_key, _)) = collected.sorted.next_entry().unwrap() {
            let (db, key) = split_sort_key(sort_key);
            kept.push((db, key.to_vec()));
        }
        let left_out = collected.left_out.into_iter().collect();
        (kept, left_out, collected.warnings)
    }

    #[test]
    fn what_no_restore_would_take_is_left_out() {
        let id = "00112233445566778899aabbccddeeff";
        let mark = |stage: &str| format!("{stage} {id} 0").into_bytes();
        let empty = |key: &[u8]| Event::Empty {
            db: 1,
            key: key.to_vec(),
        };
        let (kept, left_out, warnings) = collected(vec![
            key(1, b"a", b"1"),
            empty(b"first"),
            empty(b"second"),
            key(1, MARKER_KEY, &mark("undone")),
            key(2, MARKER_KEY, &mark("kept")),
            key(3, MARKER_KEY, b"of somebody else"),
            key(3, b"b", b"2"),
        ]);
        assert_eq!(kept, [(1, b"a".to_vec()), (3, b"b".to_vec())]);
        assert_eq!(left_out, [2]);
        let told = warnings.join("\n");
        assert!(
            told.contains("database 1") && told.contains("2, the first is first"),
            "{told}"
        );
        assert!(told.contains("keepstone:restore of database 3"), "{told}");
        assert_eq!(warnings.len(), 2, "{told}");
    }
}
