//! Staging: fills spare databases with the selected records, watched so that no live key is ever pushed out.
use keepstone_engine::source::{Items, SourceError, SourceErrorKind};

use super::capture::{cancelled, database_path};
use super::client::{Client, Refusal, Value as Reply, integer_of, unexpected};
use super::commands;
use super::format::RecordReader;
use super::marker::{NAMES_KEY, NEW_FUNCTIONS_KEY, OLD_FUNCTIONS_KEY, OWN_KEYS, Stage};
use super::plan::{Load, Place, State, Way};
use super::rdb::{encode_functions, payload_of};
use super::record::{Record, Value};
use super::resp::Batch;
use super::scan::show_key;
use super::server::{check_room, time_ms};
use super::transaction::{Found, Transaction};

/// Commands and bytes that are sent before answers are read.
const BATCH_COMMANDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Values above this are made by many small commands: a single one would stop the server for too long.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// After so many bytes the memory of the server is looked at.
const GUARD_BYTES: usize = 16 << 20;
/// Names that are written with one command.
const NAMES_MAX: usize = 1_000;

/// Takes the spare databases and fills them. Starts over what an earlier try left there.
pub(super) fn stage(
    client: &mut Client,
    state: &State,
    items: &dyn Items,
) -> Result<(), SourceError> {
    claim(client, state)?;
    if state.functions {
        stage_functions(client, state, items)?;
    }
    let now_ms = time_ms(client)?;
    for place in &state.places {
        client.select(place.staging)?;
        let mut filler = Filler::new(client, state, *place, now_ms);
        for_each_record(items, place.source, &mut |record, _| {
            if items.cancelled() {
                return Err(cancelled());
            }
            filler.take(record)
        })?;
        filler.finish()?;
    }
    mark_all(client, state)
}

/// Takes a record and its bytes.
pub(super) type VisitRecord<'v> = dyn FnMut(Record, &[u8]) -> Result<(), SourceError> + 'v;
/// Takes a name and what it names.
pub(super) type VisitString<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), SourceError> + 'v;

/// Reads every record of a database of the capture, with its bytes.
pub(super) fn for_each_record(
    items: &dyn Items,
    db: u32,
    visit: &mut VisitRecord<'_>,
) -> Result<(), SourceError> {
    let path = database_path(db)?;
    let damaged = |error| {
        SourceError::new(
            SourceErrorKind::Corrupt,
            format!("cannot read database {db} of the capture"),
        )
        .because(error)
    };
    let mut reader = RecordReader::new();
    items.read(&path, &mut |piece| {
        reader.feed(piece);
        while let Some((record, bytes)) = reader.next_record().map_err(damaged)? {
            visit(record, bytes)?;
        }
        Ok(())
    })?;
    reader.finish().map_err(damaged)
}

/// Makes the spare databases ours: empty, and marked.
fn claim(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let own = state.own_databases();
    let (found, mut transaction) =
        Transaction::watch(client, "take the spare databases", state.id, own)?;
    let mut to_empty = Vec::new();
    for (db, found) in &found {
        transaction.client().select(*db)?;
        let size = transaction.client().call("count keys", &["DBSIZE"])?;
        let size = integer_of(&size).unwrap_or(i64::MAX);
        match (found, size) {
            // The mark of an undone restore gives way to ours.
            (Found::Nothing, 0)
            | (Found::Ours(Stage::Undone) | Found::Other(Some(Stage::Undone)), 1) => {}
            (Found::Ours(Stage::Kept), _) => {
                transaction.leave()?;
                return Err(SourceError::new(
                    SourceErrorKind::Occupied,
                    "cannot stage the restore a second time: it was switched already",
                ));
            }
            (Found::Ours(Stage::Staging | Stage::Staged), _) => to_empty.push(*db),
            _ => {
                transaction.leave()?;
                return Err(SourceError::new(
                    SourceErrorKind::Occupied,
                    format!("cannot stage the restore: the spare database {db} is not empty"),
                ));
            }
        }
    }
    for db in found.keys() {
        transaction.select(*db)?;
        if to_empty.contains(db) {
            transaction.push(&["FLUSHDB", "ASYNC"])?;
        }
        transaction.mark(Stage::Staging, state.id, state.target_of(*db))?;
    }
    all_done(transaction.commit()?, "take the spare databases")
}

/// Refuses to go on where a marker is gone: behind a connection that was made anew may be a server that has forgotten
/// everything, and there nobody has taken these databases.
fn check_claimed(
    client: &mut Client,
    state: &State,
    databases: impl IntoIterator<Item = u32>,
    act: &str,
) -> Result<(), SourceError> {
    let (found, transaction) = Transaction::watch(client, act, state.id, databases)?;
    transaction.leave()?;
    let mut found = found.into_iter();
    match found.find(|(_, found)| *found != Found::Ours(Stage::Staging)) {
        Some((db, _)) => Err(SourceError::new(
            SourceErrorKind::Interrupted,
            format!("cannot {act}: the marker of the restore is gone from database {db}"),
        )),
        None => Ok(()),
    }
}

/// Says that every database is filled.
fn mark_all(client: &mut Client, state: &State) -> Result<(), SourceError> {
    // The end of the capture may have taken long to read.
    client.revive()?;
    let own = state.own_databases();
    let (found, mut transaction) =
        Transaction::watch(client, "mark the staged databases", state.id, own)?;
    if found
        .values()
        .any(|found| *found != Found::Ours(Stage::Staging))
    {
        transaction.leave()?;
        return Err(SourceError::new(
            SourceErrorKind::Interrupted,
            "cannot finish staging: the marker of the restore is gone from a spare database",
        ));
    }
    for db in found.keys() {
        transaction.select(*db)?;
        transaction.mark(Stage::Staged, state.id, state.target_of(*db))?;
    }
    all_done(transaction.commit()?, "mark the staged databases")
}

/// None of the answers is a refusal.
pub(super) fn all_done(answers: Vec<Result<Reply, Refusal>>, act: &str) -> Result<(), SourceError> {
    match answers.into_iter().find_map(Result::err) {
        Some(refusal) => Err(refusal.of(format!("cannot {act} of redis"))),
        None => Ok(()),
    }
}

/// Keeps the functions of the server and those of the capture as payloads, so that the switch needs nothing else.
fn stage_functions(
    client: &mut Client,
    state: &State,
    items: &dyn Items,
) -> Result<(), SourceError> {
    let act = "keep the functions";
    let libraries = functions_of(items)?;
    let new = encode_functions(libraries.iter().map(Vec::as_slice));
    if client.revive()? {
        check_claimed(client, state, [state.control()], act)?;
    }
    client.select(state.control())?;
    let old = client.call(act, &["FUNCTION", "DUMP"])?;
    let Reply::BulkString(old) = old else {
        return Err(unexpected(act, client.place()));
    };
    for (key, payload) in [(OLD_FUNCTIONS_KEY, old), (NEW_FUNCTIONS_KEY, new)] {
        client.call(act, &[b"SET", key, payload.as_slice()])?;
    }
    Ok(())
}

/// Libraries of functions in the capture, as code.
pub(super) fn functions_of(items: &dyn Items) -> Result<Vec<Vec<u8>>, SourceError> {
    let mut libraries = Vec::new();
    read_strings(items, "functions", &mut |_, code| {
        libraries.push(code.to_vec());
        Ok(())
    })?;
    Ok(libraries)
}

/// Reads a stream of string records, if the capture has it. Answers whether it has.
pub(super) fn read_strings(
    items: &dyn Items,
    name: &str,
    visit: &mut VisitString<'_>,
) -> Result<bool, SourceError> {
    let damaged = |error| {
        SourceError::new(
            SourceErrorKind::Corrupt,
            format!("cannot read the {name} of the capture"),
        )
        .because(error)
    };
    let path = super::capture::path(&[name])?;
    if items.get(&path)?.is_none() {
        return Ok(false);
    }
    let mut reader = RecordReader::new();
    items.read(&path, &mut |piece| {
        reader.feed(piece);
        while let Some((record, _)) = reader.next_record().map_err(damaged)? {
            if let Value::String(string) = &record.value {
                visit(&record.key, string)?;
            }
        }
        Ok(())
    })?;
    reader.finish().map_err(damaged)?;
    Ok(true)
}

/// Fills one spare database.
struct Filler<'a> {
    client: &'a mut Client,
    state: &'a State,
    place: Place,
    now_ms: u64,
    batch: Batch,
    names: Vec<Vec<u8>>,
    since_guard: usize,
    largest_bytes: u64,
    act: String,
}

impl<'a> Filler<'a> {
    fn new(client: &'a mut Client, state: &'a State, place: Place, now_ms: u64) -> Self {
        Self {
            client,
            state,
            place,
            now_ms,
            batch: Batch::default(),
            names: Vec::new(),
            since_guard: 0,
            largest_bytes: 0,
            act: format!("fill the spare database {}", place.staging),
        }
    }

    fn take(&mut self, record: Record) -> Result<(), SourceError> {
        let Some(record) = self.state.selection.apply(record) else {
            return Ok(());
        };
        let Some(record) = record.at(self.now_ms) else {
            return Ok(());
        };
        if OWN_KEYS.contains(&record.key.as_slice()) {
            let key = show_key(&record.key);
            return Err(SourceError::new(
                SourceErrorKind::Other,
                format!("cannot restore key {key}: restores keep their own notes under that name"),
            ));
        }
        if self.state.way == Way::Keys {
            self.names.push(record.key.clone());
            if self.names.len() >= NAMES_MAX {
                self.put_names();
            }
        }
        self.largest_bytes = self.largest_bytes.max(count(record.value.size_bytes()));
        if record.value.size_bytes() > PAYLOAD_BYTES_MAX {
            self.make_room(&record)?;
            return self.put_large(&record);
        }
        let payload = payload_of(&record.value, self.state.detail);
        let expires = record.expires_ms.unwrap_or(0).to_string();
        let arguments: [&[u8]; 5] = [
            b"RESTORE",
            &record.key,
            expires.as_bytes(),
            &payload,
            b"ABSTTL",
        ];
        self.batch.push(&arguments);
        self.flush_if_full()
    }

    /// A large value comes at once, long before the next look at the memory.
    fn make_room(&mut self, record: &Record) -> Result<(), SourceError> {
        self.flush()?;
        let load = Load {
            keys: 1,
            bytes: count(record.value.size_bytes()),
            elements: count(record.value.elements()),
            ..Load::default()
        };
        check_room(self.client, &self.act, load.memory_bytes())
    }

    /// Makes a value of many commands. Nobody sees it until the switch.
    fn put_large(&mut self, record: &Record) -> Result<(), SourceError> {
        let detail = self.state.detail;
        let key = record.key.as_slice();
        let Value::Stream(stream) = &record.value else {
            return commands::commands_of(record, &mut |arguments| {
                self.batch.push(arguments);
                self.flush_if_full()
            });
        };
        // Groups with their times exist only in payloads; entries are added to such a stream afterwards.
        let frame = Value::Stream(Box::new(commands::without_entries(stream)));
        let payload = payload_of(&frame, detail);
        let arguments: [&[u8]; 5] = [b"RESTORE", key, b"0", &payload, b"ABSTTL"];
        self.batch.push(&arguments);
        let put = &mut |arguments: &[&[u8]]| {
            self.batch.push(arguments);
            self.flush_if_full()
        };
        commands::entries(key, stream, put)?;
        let mut lowered = record.clone();
        lowered.lower_to(detail);
        if let Value::Stream(stream) = &lowered.value {
            commands::set_id(key, stream, put)?;
        }
        commands::expire(record, put)
    }

    fn put_names(&mut self) {
        let Some(keep) = self.place.keep else {
            return;
        };
        self.batch.push(&["SELECT", &keep.to_string()]);
        let mut arguments = vec![b"RPUSH".as_slice(), NAMES_KEY];
        arguments.extend(self.names.iter().map(Vec::as_slice));
        self.batch.push(&arguments);
        self.batch
            .push(&["SELECT", &self.place.staging.to_string()]);
        self.names.clear();
    }

    fn flush_if_full(&mut self) -> Result<(), SourceError> {
        if self.batch.count >= BATCH_COMMANDS || self.batch.bytes.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        // What comes next may have taken long to read, or to find.
        if self.client.revive()? {
            let Place { staging, keep, .. } = self.place;
            let databases = [Some(staging), keep].into_iter().flatten();
            check_claimed(self.client, self.state, databases, &self.act)?;
            self.client.select(staging)?;
        }
        let answers = self.client.pipeline(&self.act, &self.batch)?;
        self.since_guard += self.batch.bytes.len();
        self.batch.clear();
        if let Some(refusal) = answers.into_iter().find_map(Result::err) {
            return Err(refusal.of(format!(
                "cannot {} of redis at {}",
                self.act,
                self.client.place()
            )));
        }
        if self.since_guard >= GUARD_BYTES {
            self.since_guard = 0;
            self.guard()?;
        }
        Ok(())
    }

    /// Stops before the server would evict live keys for staged ones: the plan saw an earlier moment.
    /// The validation will have the server hold the largest value a second time.
    fn guard(&mut self) -> Result<(), SourceError> {
        let wanted = count(2 * GUARD_BYTES).max(self.largest_bytes);
        check_room(self.client, &self.act, wanted)
    }

    fn finish(mut self) -> Result<(), SourceError> {
        if !self.names.is_empty() {
            self.put_names();
        }
        self.flush()
    }
}

fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
