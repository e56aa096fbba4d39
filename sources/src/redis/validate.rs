//! Validation: reads back what was staged and compares counts and digests with what was recorded.
//!
//! Keys go on expiring while this happens. Both sides are taken as they are at the end of the reading, so a key that
//! expired since the capture leaves both sums; how many did is told.

use std::collections::HashSet;

use keepstone_engine::source::{Items, RecordDigest, SourceError, Validation};

use super::capture::{cancelled, database_path};
use super::client::Client;
use super::format::encode_record;
use super::marker::OWN_KEYS;
use super::plan::{Place, State};
use super::record::{Record, StreamDetail};
use super::scan::Scan;
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
    let (found, now_ms) = read_staged(client, state, place, items, repeats)?;
    let mut expected = Sums::default();
    let mut whole = RecordDigest::new();
    let mut expired = 0;
    for_each_record(items, place.source, &mut |record, bytes| {
        whole.add(bytes);
        let Some(record) = state.selection.apply(record) else {
            return Ok(());
        };
        match record.at(now_ms) {
            Some(record) => expected.add(&record),
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

/// Reads a staged database, as it is at the moment that is answered too.
fn read_staged(
    client: &mut Client,
    state: &State,
    place: Place,
    items: &dyn Items,
    repeats: Repeats,
) -> Result<(Sums, u64), SourceError> {
    let mut horizon_ms = HORIZON_MS_FIRST;
    loop {
        let started_ms = time_ms(client)?;
        let mut sums = Sums::default();
        let mut soon = Vec::new();
        let mut seen = HashSet::new();
        let scan = Scan {
            db: place.staging,
            pattern: None,
            absolute_expiry: state.detail >= StreamDetail::Offsets,
        };
        scan.run(client, &mut |record| {
            if items.cancelled() {
                return Err(cancelled());
            }
            let own = OWN_KEYS.contains(&record.key.as_slice());
            let again = repeats == Repeats::Dropped && !seen.insert(blake3::hash(&record.key));
            if own || again {
                return Ok(());
            }
            let end_ms = started_ms.saturating_add(horizon_ms);
            match record.first_expiry_ms() {
                Some(at) if at <= end_ms => soon.push(record),
                _ => sums.add(&record),
            }
            Ok(())
        })?;
        let now_ms = time_ms(client)?;
        if now_ms <= started_ms.saturating_add(horizon_ms) {
            let left = soon.into_iter().filter_map(|record| record.at(now_ms));
            left.for_each(|record| sums.add(&record));
            return Ok((sums, now_ms));
        }
        horizon_ms = horizon_ms.saturating_mul(8);
    }
}

/// Sums over records at each detail of streams: only what both sides can know is compared.
#[derive(Default)]
struct Sums {
    activity: RecordDigest,
    offsets: RecordDigest,
    basic: RecordDigest,
    least: Option<StreamDetail>,
    bytes: Vec<u8>,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        let super::record::Value::Stream(stream) = &record.value else {
            self.bytes.clear();
            encode_record(record, &mut self.bytes);
            for sum in [&mut self.activity, &mut self.offsets, &mut self.basic] {
                sum.add(&self.bytes);
            }
            return;
        };
        let least = self
            .least
            .map_or(stream.detail, |least| least.min(stream.detail));
        self.least = Some(least);
        let mut lowered = record.clone();
        let sums = [
            (StreamDetail::Activity, &mut self.activity),
            (StreamDetail::Offsets, &mut self.offsets),
            (StreamDetail::Basic, &mut self.basic),
        ];
        for (detail, sum) in sums {
            lowered.lower_to(detail);
            self.bytes.clear();
            encode_record(&lowered, &mut self.bytes);
            sum.add(&self.bytes);
        }
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
