//! Validation: reads back what was staged and compares counts and digests with what was recorded.
//!
//! Keys go on expiring while this happens. Both sides are taken as they are at the end of the reading, so a key that
//! expired since the capture leaves both sums; how many did is told. Keys that expire soon are summed up by the second in
//! which they do, so that a cache takes no more memory here than anything else.

use std::collections::{BTreeMap, HashSet};

use keepstone_engine::source::{Items, RecordDigest, SourceError, SourceErrorKind, Validation};

use super::capture::{cancelled, database_path};
use super::client::Client;
use super::format::encode_record;
use super::marker::OWN_KEYS;
use super::plan::{Place, State};
use super::record::{Record, StreamDetail, Value};
use super::scan::{Scan, Seen, show_key};
use super::server::time_ms;
use super::stage::for_each_record;

/// Records that expire within this time are looked at again when the reading has ended.
const HORIZON_MS_FIRST: u64 = 10 * 60 * 1000;

/// Compares every staged database with the capture.
pub(super) fn validate(
    client: &mut Client,
    state: &State,
    items: &dyn Items,
) -> Result<Validation, SourceError> {
    let mut validation = Validation::default();
    for place in &state.places {
        let mut compared = compare(client, state, *place, items, Repeats::Trusted)?;
        if !compared.differences.is_empty() {
            // The server may name a key twice; to remember all names costs memory, so it is done only now.
            compared = compare(client, state, *place, items, Repeats::Dropped)?;
        }
        validation.records += compared.records;
        validation.expired += compared.expired;
        validation.differences.append(&mut compared.differences);
    }
    if state.functions {
        let text = "functions are compared when they are switched";
        validation.notes.push(text.to_owned());
    }
    Ok(validation)
}

/// What is done about keys that the server names twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// There are none.
    Trusted,
    /// They are counted once.
    Dropped,
}

fn compare(
    client: &mut Client,
    state: &State,
    place: Place,
    items: &dyn Items,
    repeats: Repeats,
) -> Result<Validation, SourceError> {
    // The capture of another database may have taken long to read.
    client.revive()?;
    let (found, now_ms) = read_staged(client, state, place, items, repeats)?;
    let mut expected = Sums::default();
    let mut scratch = Vec::new();
    let mut whole = RecordDigest::new();
    let mut expired = 0;
    for_each_record(items, place.source, &mut |record, bytes| {
        whole.add(bytes);
        let Some(record) = state.selection.apply(record) else {
            return Ok(());
        };
        match record.at(now_ms) {
            Some(record) => expected.add(&record, &mut scratch),
            None => expired += 1,
        }
        Ok(())
    })?;
    let mut validation = Validation {
        records: found.count(),
        expired,
        ..Validation::default()
    };
    check_capture(items, place.source, &whole, &mut validation)?;
    validation
        .differences
        .extend(difference(place, &expected, &found));
    Ok(validation)
}

/// What was read from the repository is what the capture recorded.
fn check_capture(
    items: &dyn Items,
    db: u32,
    whole: &RecordDigest,
    validation: &mut Validation,
) -> Result<(), SourceError> {
    let facts = items.get(&database_path(db)?)?.map(|item| item.facts);
    let Some(facts) = facts else {
        return Ok(());
    };
    let same = facts.records.is_none_or(|count| count == whole.count())
        && facts.digest.is_none_or(|digest| digest == whole.finish());
    if !same {
        validation.differences.push(format!(
            "database {db} of the capture does not match its own count and digest"
        ));
    }
    Ok(())
}

fn difference(place: Place, expected: &Sums, found: &Sums) -> Option<String> {
    let Place {
        source, staging, ..
    } = place;
    let (wanted, there) = (expected.count(), found.count());
    if wanted != there {
        return Some(format!(
            "database {source} should have {wanted} keys, and database {staging}, where it is staged, \
             has {there}"
        ));
    }
    (!expected.equals(found)).then(|| {
        format!(
            "some of the {wanted} keys of database {source} differ from those staged in database \
             {staging}"
        )
    })
}

/// Reads a staged database, as it is at a moment that is answered too: at the end of the second in which the reading ended.
fn read_staged(
    client: &mut Client,
    state: &State,
    place: Place,
    items: &dyn Items,
    repeats: Repeats,
) -> Result<(Sums, u64), SourceError> {
    let mut horizon_ms = HORIZON_MS_FIRST;
    loop {
        let end_ms = time_ms(client)?.saturating_add(horizon_ms);
        let mut staged = Staged::until(end_ms);
        let mut seen = HashSet::new();
        let scan = Scan {
            db: place.staging,
            pattern: None,
            absolute_expiry: state.detail >= StreamDetail::Offsets,
            guarded: true,
        };
        scan.run(client, &mut |key| {
            if items.cancelled() {
                return Err(cancelled());
            }
            let record = match key {
                Seen::Record(record) => record,
                Seen::Empty(key) => return Err(without_element(&key, place.staging)),
            };
            let own = OWN_KEYS.contains(&record.key.as_slice());
            let again = repeats == Repeats::Dropped && !seen.insert(blake3::hash(&record.key));
            if !own && !again {
                staged.add(record);
            }
            Ok(())
        })?;
        let moment_ms = end_of_second(time_ms(client)?);
        if moment_ms <= end_ms {
            return Ok((staged.at(moment_ms), moment_ms));
        }
        horizon_ms = horizon_ms.saturating_mul(8);
    }
}

/// No server takes such a key from us.
fn without_element(key: &[u8], db: u32) -> SourceError {
    let act = format!("cannot read key {} of database {db}", show_key(key));
    SourceError::new(SourceErrorKind::Other, act).because("it holds a collection without elements")
}

/// The last millisecond of a second.
fn end_of_second(ms: u64) -> u64 {
    ms - ms % 1000 + 999
}

/// What is staged, until it is known which moment counts.
struct Staged {
    end_ms: u64,
    /// Of records that are what they are until the end.
    lasting: Sums,
    /// Of records that expire as a whole before, by the second in which they do.
    by_second: BTreeMap<u64, Sums>,
    /// Hashes with fields that expire before.
    changing: Vec<Record>,
    scratch: Vec<u8>,
}

impl Staged {
    fn until(end_ms: u64) -> Self {
        Self {
            end_ms,
            lasting: Sums::default(),
            by_second: BTreeMap::new(),
            changing: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn add(&mut self, record: Record) {
        let is_before = |at: &u64| *at <= self.end_ms;
        let fields_change = match &record.value {
            Value::Hash { expiries, .. } => expiries.iter().any(|at| *at != 0 && is_before(at)),
            _ => false,
        };
        if fields_change {
            self.changing.push(record);
            return;
        }
        let sums = match record.expires_ms.filter(is_before) {
            Some(at) => self.by_second.entry(at / 1000).or_default(),
            None => &mut self.lasting,
        };
        sums.add(&record, &mut self.scratch);
    }

    /// All of it as it is at the last millisecond of a second before the end.
    fn at(mut self, moment_ms: u64) -> Sums {
        let mut sums = self.lasting;
        let left = self.by_second.range(moment_ms / 1000 + 1..);
        left.for_each(|(_, of_second)| sums.merge(of_second));
        let left = self.changing.into_iter();
        left.filter_map(|record| record.at(moment_ms))
            .for_each(|record| sums.add(&record, &mut self.scratch));
        sums
    }
}

/// Sums over records at each detail of streams: only what both sides can know is compared.
#[derive(Default)]
struct Sums {
    activity: RecordDigest,
    offsets: RecordDigest,
    basic: RecordDigest,
    least: Option<StreamDetail>,
}

impl Sums {
    /// Adds a record, encoded in `scratch`.
    fn add(&mut self, record: &Record, scratch: &mut Vec<u8>) {
        let Value::Stream(stream) = &record.value else {
            scratch.clear();
            encode_record(record, scratch);
            for sum in [&mut self.activity, &mut self.offsets, &mut self.basic] {
                sum.add(scratch);
            }
            return;
        };
        self.saw(stream.detail);
        let mut lowered = record.clone();
        let sums = [
            (StreamDetail::Activity, &mut self.activity),
            (StreamDetail::Offsets, &mut self.offsets),
            (StreamDetail::Basic, &mut self.basic),
        ];
        for (detail, sum) in sums {
            lowered.lower_to(detail);
            scratch.clear();
            encode_record(&lowered, scratch);
            sum.add(scratch);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.activity.merge(&other.activity);
        self.offsets.merge(&other.offsets);
        self.basic.merge(&other.basic);
        other.least.into_iter().for_each(|detail| self.saw(detail));
    }

    fn saw(&mut self, detail: StreamDetail) {
        self.least = Some(self.least.map_or(detail, |least| least.min(detail)));
    }

    fn count(&self) -> u64 {
        self.basic.count()
    }

    fn equals(&self, other: &Self) -> bool {
        let least = match (self.least, other.least) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other).unwrap_or(StreamDetail::Activity),
        };
        match least {
            StreamDetail::Activity => self.activity == other.activity,
            StreamDetail::Offsets => self.offsets == other.offsets,
            StreamDetail::Basic => self.basic == other.basic,
        }
    }
}
