//! Plans of restores: which database goes where, which keys, under which names, expiring when.
//!
//! A plan is decided from facts alone, so its tests need no server. `State` is what lies in `RestorePlan::state`.
use std::collections::{BTreeMap, BTreeSet};

use keepstone_engine::source::{SourceError, SourceErrorKind};
use serde::{Deserialize, Serialize};

use super::collect::matches_pattern;
use super::marker::{OWN_KEYS, RestoreId};
use super::record::{Record, StreamDetail, Value};
use super::settings::RedisSettings;

/// Most keys that a restore of single keys moves: one transaction holds them all.
pub(super) const MOVED_KEYS_MAX: u64 = 500_000;

/// How a capture is put back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisRestoreOptions {
    /// Database of the capture → database of the target. Empty: all of them, each under its own number, or the only
    /// one into the database of the address.
    pub databases: BTreeMap<u32, u32>,
    /// Restore only keys that match one of these, beside the live ones. They match names as captured. Empty: all.
    pub key_patterns: Vec<String>,
    /// Restore under other names, beside the live keys.
    pub prefix: Option<PrefixChange>,
    /// What becomes of expiries.
    pub ttl: Ttl,
    /// Replace the server's functions by the captured ones.
    pub functions: bool,
    /// Empty databases to work in, in order of preference. Empty: the highest that are free.
    pub spare_databases: Vec<u32>,
}

/// Other names for keys: those that begin with `from` begin with `to`; others are not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixChange {
    /// What is taken away; may be empty.
    pub from: String,
    /// What is put there.
    pub to: String,
}

/// What becomes of expiries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// Keys expire when they would have.
    #[default]
    Keep,
    /// Keys live as long after the restore as they had left at the capture.
    Shift,
    /// Keys do not expire.
    Drop,
}

/// `Ttl` with the moment fixed, so that staging and validation agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TtlChange {
    Keep,
    Shift { by_ms: u64 },
    Drop,
}

/// How the switch is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// Whole databases change places.
    Swap,
    /// Single keys are moved, those of the same name kept.
    Keys,
}

/// One database of the capture and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its number in the capture.
    pub(super) source: u32,
    /// The live database.
    pub(super) target: u32,
    /// Where it is staged; after a swap what was live is there.
    pub(super) staging: u32,
    /// Where keys of the same name are kept; only where single keys are moved.
    pub(super) keep: Option<u32>,
}

/// Which records are restored, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    pub(super) key_patterns: Vec<String>,
    pub(super) prefix: Option<PrefixChange>,
    pub(super) ttl: TtlChange,
}

/// Everything that the steps after the plan need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) id: RestoreId,
    pub(super) way: Way,
    pub(super) places: Vec<Place>,
    pub(super) selection: Selection,
    pub(super) functions: bool,
    /// What the target can know of streams.
    pub(super) detail: StreamDetail,
}

impl State {
    /// Takes the state out of a plan.
    pub(super) fn of(value: &serde_json::Value) -> Result<Self, SourceError> {
        let state: Self = serde_json::from_value(value.clone()).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Corrupt,
                "cannot understand the plan of a redis restore",
            )
            .because(error)
        })?;
        if state.places.is_empty() {
            return Err(SourceError::new(
                SourceErrorKind::Corrupt,
                "the plan of a redis restore names no database",
            ));
        }
        Ok(state)
    }

    /// The database whose marker decides.
    pub(super) fn control(&self) -> u32 {
        self.places.first().map_or(0, Place::bookkeeping)
    }

    /// The live database that one of the restore's own belongs to.
    pub(super) fn target_of(&self, own: u32) -> u32 {
        let belongs = |place: &&Place| place.staging == own || place.keep == Some(own);
        self.places
            .iter()
            .find(belongs)
            .map_or(own, |place| place.target)
    }

    /// The databases whose marks tell that the switch is done, and hold what it kept.
    pub(super) fn keeping_databases(&self) -> BTreeSet<u32> {
        self.places.iter().map(Place::bookkeeping).collect()
    }

    /// Every database that the restore works in, beside the live ones.
    pub(super) fn own_databases(&self) -> BTreeSet<u32> {
        let both = |place: &Place| [Some(place.staging), place.keep];
        self.places.iter().flat_map(both).flatten().collect()
    }

    /// Those and the live ones.
    pub(super) fn all_databases(&self) -> impl Iterator<Item = u32> {
        let targets = self.places.iter().map(|place| place.target);
        self.own_databases().into_iter().chain(targets)
    }
}

impl Place {
    /// The database with what the restore writes for itself.
    pub(super) fn bookkeeping(&self) -> u32 {
        self.keep.unwrap_or(self.staging)
    }

    /// What a swap keeps, for people.
    pub(super) fn whole_kept(&self) -> String {
        let Self {
            target, staging, ..
        } = self;
        format!("database {target} as it was, in database {staging}")
    }
}

impl Selection {
    /// The record as it is restored; none if it is not.
    pub(super) fn apply(&self, mut record: Record) -> Option<Record> {
        record.key = self.name(&record.key)?;
        let change = |at: &mut u64| match self.ttl {
            TtlChange::Shift { by_ms } if *at != 0 => *at = at.saturating_add(by_ms),
            TtlChange::Keep | TtlChange::Shift { .. } => {}
            TtlChange::Drop => *at = 0,
        };
        record.expires_ms = record.expires_ms.map(|mut at| {
            change(&mut at);
            at
        });
        if self.ttl == TtlChange::Drop {
            record.expires_ms = None;
        }
        if let Value::Hash { expiries, .. } = &mut record.value {
            expiries.iter_mut().for_each(change);
            if expiries.iter().all(|at| *at == 0) {
                expiries.clear();
            }
        }
        Some(record)
    }

    /// The name under which a key is restored; none if it is not. What an earlier restore had noted for itself was no
    /// data of anybody, and earlier versions captured it.
    fn name(&self, key: &[u8]) -> Option<Vec<u8>> {
        if OWN_KEYS.contains(&key) {
            return None;
        }
        let is_match = |pattern: &String| matches_pattern(Some(pattern), key);
        if !self.key_patterns.is_empty() && !self.key_patterns.iter().any(is_match) {
            return None;
        }
        match &self.prefix {
            None => Some(key.to_vec()),
            Some(change) => {
                let rest = key.strip_prefix(change.from.as_bytes())?;
                Some([change.to.as_bytes(), rest].concat())
            }
        }
    }
}

/// What the target has, as far as the choice of databases goes.
pub(super) struct Room {
    /// How many databases there are.
    pub(super) count: u32,
    /// Those with anything in them.
    pub(super) occupied: BTreeSet<u32>,
    /// Those that an earlier restore would bring something back to, or empty.
    pub(super) awaited: BTreeSet<u32>,
}

/// What was captured of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Every key of the databases.
    Whole,
    /// Only keys that match a pattern: of the others it says nothing.
    Part,
}

/// Decides which database goes where, how, and which spare ones are used.
pub(super) fn choose_places(
    captured: &BTreeSet<u32>,
    extent: Extent,
    options: &RedisRestoreOptions,
    settings: &RedisSettings,
    room: &Room,
) -> Result<(Way, Vec<Place>), SourceError> {
    let pairs = choose_pairs(captured, options, settings)?;
    let targets: BTreeSet<u32> = pairs.values().copied().collect();
    if targets.len() < pairs.len() {
        return Err(refuse(
            SourceErrorKind::Settings,
            "two databases of the capture cannot go into the same database",
        ));
    }
    if let Some(target) = targets.iter().find(|target| **target >= room.count) {
        let text = format!("the server has no database {target}: it has {}", room.count);
        return Err(refuse(SourceErrorKind::Preflight, text));
    }
    let is_free = targets.is_disjoint(&room.occupied);
    let way = match extent {
        _ if !options.key_patterns.is_empty() || options.prefix.is_some() => Way::Keys,
        Extent::Part if !is_free => Way::Keys,
        Extent::Part | Extent::Whole => Way::Swap,
    };
    let each = match way {
        Way::Swap => 1,
        Way::Keys => 2,
    };
    let mut spare = choose_spare(options, room, &targets, each * pairs.len())?.into_iter();
    let place = |(source, target): (u32, u32)| {
        let staging = spare.next()?;
        let keep = match way {
            Way::Swap => None,
            Way::Keys => Some(spare.next()?),
        };
        Some(Place {
            source,
            target,
            staging,
            keep,
        })
    };
    let places: Option<Vec<_>> = pairs.into_iter().map(place).collect();
    let places =
        places.ok_or_else(|| refuse(SourceErrorKind::Occupied, "no empty database is left"))?;
    Ok((way, places))
}

fn choose_pairs(
    captured: &BTreeSet<u32>,
    options: &RedisRestoreOptions,
    settings: &RedisSettings,
) -> Result<BTreeMap<u32, u32>, SourceError> {
    if let Some(missing) = options.databases.keys().find(|db| !captured.contains(db)) {
        let text = format!("the capture holds no database {missing}");
        return Err(refuse(SourceErrorKind::Missing, text));
    }
    if captured.is_empty() {
        return Err(refuse(
            SourceErrorKind::Missing,
            "the capture holds no database",
        ));
    }
    let itself = |db: &u32| (*db, *db);
    match (options.databases.is_empty(), settings.db) {
        (false, _) => Ok(options.databases.clone()),
        (true, None) => Ok(captured.iter().map(itself).collect()),
        (true, Some(target)) if captured.len() == 1 => {
            Ok(captured.iter().map(|db| (*db, target)).collect())
        }
        (true, Some(target)) => {
            let numbers: Vec<_> = captured.iter().map(ToString::to_string).collect();
            let text = format!(
                "the capture holds databases {}: say which of them goes into database {target}",
                numbers.join(", ")
            );
            Err(refuse(SourceErrorKind::Settings, text))
        }
    }
}

fn choose_spare(
    options: &RedisRestoreOptions,
    room: &Room,
    targets: &BTreeSet<u32>,
    needed: usize,
) -> Result<Vec<u32>, SourceError> {
    let is_taken = |db: &u32| room.occupied.contains(db) || room.awaited.contains(db);
    let free = |db: &u32| !is_taken(db) && !targets.contains(db);
    if options.spare_databases.is_empty() {
        let spare: Vec<u32> = (0..room.count).rev().filter(free).take(needed).collect();
        if spare.len() < needed {
            let text = format!(
                "the restore works in {needed} empty databases and the server has {}: empty some, \
                 or export the capture and load it with redis-cli --pipe",
                spare.len()
            );
            return Err(refuse(SourceErrorKind::Occupied, text));
        }
        return Ok(spare);
    }
    let distinct: BTreeSet<_> = options.spare_databases.iter().collect();
    if distinct.len() < options.spare_databases.len() || options.spare_databases.len() < needed {
        let text = format!("the restore needs {needed} different spare databases");
        return Err(refuse(SourceErrorKind::Settings, text));
    }
    if let Some(db) = options.spare_databases.iter().find(|db| **db >= room.count) {
        let text = format!("the server has no database {db}: it has {}", room.count);
        return Err(refuse(SourceErrorKind::Preflight, text));
    }
    if let Some(db) = options.spare_databases.iter().find(|db| !free(db)) {
        let why = if room.awaited.contains(db) {
            "is where an earlier restore goes to: roll that back or discard it first"
        } else {
            "is not empty"
        };
        let text = format!("the spare database {db} {why}");
        return Err(refuse(SourceErrorKind::Occupied, text));
    }
    Ok(options.spare_databases.clone())
}

/// A refusal.
pub(super) fn refuse(kind: SourceErrorKind, text: impl Into<String>) -> SourceError {
    SourceError::new(kind, text)
}

/// What the restored data is expected to take in the memory of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) elements: u64,
    /// Bytes of the largest record, where that is known: when it is read back the server holds it a second time.
    pub(super) largest: u64,
}

impl Load {
    /// On the safe side of what was measured: a key costs a table entry, an object and its name; an element of a large
    /// collection costs a table entry or a node of a skip list and a string.
    pub(super) fn memory_bytes(&self) -> u64 {
        const KEY_BYTES: u64 = 120;
        const ELEMENT_BYTES: u64 = 96;
        let fixed = self.keys.saturating_mul(KEY_BYTES);
        let elements = self.elements.saturating_sub(self.keys);
        let elements = elements.saturating_mul(ELEMENT_BYTES);
        fixed
            .saturating_add(elements)
            .saturating_add(self.bytes)
            .saturating_add(self.bytes / 4)
    }

    /// Refuses what would push live keys out, or the machine into its limits.
    pub(super) fn check_memory(&self, memory: &Memory) -> Result<(), SourceError> {
        let wanted = memory
            .used
            .saturating_add(self.memory_bytes())
            .saturating_add(self.largest);
        let (limit, name) = match memory.max {
            0 => (memory.system, "memory of the machine"),
            max => (max, "maxmemory"),
        };
        if limit > 0 && wanted > limit {
            let text = format!(
                "the restored data beside the live data would take about {wanted} bytes and the \
                 {name} is {limit}{}",
                if memory.evicts {
                    ": live keys would be evicted"
                } else {
                    ""
                }
            );
            return Err(refuse(SourceErrorKind::Preflight, text));
        }
        Ok(())
    }
}

/// Memory of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) used: u64,
    /// 0: no bound.
    pub(super) max: u64,
    /// 0: unknown.
    pub(super) system: u64,
    pub(super) evicts: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source, target, staging, keep.
    type Numbers = (u32, u32, u32, Option<u32>);

    fn places(
        captured: &[u32],
        options: &RedisRestoreOptions,
        db: Option<u32>,
        occupied: &[u32],
    ) -> Result<Vec<Numbers>, SourceErrorKind> {
        places_of(Extent::Whole, captured, options, db, occupied)
    }

    fn places_of(
        extent: Extent,
        captured: &[u32],
        options: &RedisRestoreOptions,
        db: Option<u32>,
        occupied: &[u32],
    ) -> Result<Vec<Numbers>, SourceErrorKind> {
        let mut settings = RedisSettings::new("h", 1);
        settings.db = db;
        let room = Room {
            count: 16,
            occupied: occupied.iter().copied().collect(),
            awaited: BTreeSet::new(),
        };
        let captured = captured.iter().copied().collect();
        choose_places(&captured, extent, options, &settings, &room)
            .map(|(_, places)| {
                let tuple = |p: Place| (p.source, p.target, p.staging, p.keep);
                places.into_iter().map(tuple).collect()
            })
            .map_err(|error| error.kind())
    }

    #[test]
    fn databases_go_where_they_were_unless_told_otherwise() {
        let plain = RedisRestoreOptions::default();
        assert_eq!(
            places(&[0, 3], &plain, None, &[0, 15]),
            Ok(vec![(0, 0, 14, None), (3, 3, 13, None)])
        );
        assert_eq!(
            places(&[0], &plain, Some(15), &[]),
            Ok(vec![(0, 15, 14, None)])
        );
        assert_eq!(
            places(&[0, 3], &plain, Some(1), &[]),
            Err(SourceErrorKind::Settings)
        );
        let mapped = RedisRestoreOptions {
            databases: BTreeMap::from([(3, 4)]),
            spare_databases: vec![7],
            ..RedisRestoreOptions::default()
        };
        assert_eq!(
            places(&[0, 3], &mapped, Some(1), &[]),
            Ok(vec![(3, 4, 7, None)])
        );
        assert_eq!(
            places(&[0], &mapped, None, &[]),
            Err(SourceErrorKind::Missing)
        );
        assert_eq!(
            places(&[3], &mapped, None, &[7]),
            Err(SourceErrorKind::Occupied)
        );
        let keys = RedisRestoreOptions {
            key_patterns: vec!["a*".to_owned()],
            ..RedisRestoreOptions::default()
        };
        assert_eq!(
            places(&[0], &keys, None, &[0]),
            Ok(vec![(0, 0, 15, Some(14))])
        );
    }

    #[test]
    fn a_part_of_the_keys_never_takes_the_place_of_a_database_with_others() {
        let plain = RedisRestoreOptions::default();
        let places = |occupied| places_of(Extent::Part, &[0, 3], &plain, None, occupied);
        let keys = vec![(0, 0, 15, Some(14)), (3, 3, 13, Some(12))];
        assert_eq!(places(&[3]), Ok(keys));
        let swaps = vec![(0, 0, 15, None), (3, 3, 14, None)];
        assert_eq!(places(&[]), Ok(swaps));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let with = |databases: &[(u32, u32)], spare: &[u32]| RedisRestoreOptions {
            databases: databases.iter().copied().collect(),
            spare_databases: spare.to_vec(),
            ..RedisRestoreOptions::default()
        };
        let cases = [
            (with(&[(0, 1), (3, 1)], &[]), SourceErrorKind::Settings),
            (with(&[(0, 16)], &[]), SourceErrorKind::Preflight),
            (with(&[(0, 1)], &[16]), SourceErrorKind::Preflight),
            (with(&[(0, 1)], &[1]), SourceErrorKind::Occupied),
            (with(&[], &[9, 9]), SourceErrorKind::Settings),
            (with(&[], &[9]), SourceErrorKind::Settings),
        ];
        for (options, expected) in cases {
            assert_eq!(
                places(&[0, 3], &options, None, &[]),
                Err(expected),
                "{options:?}"
            );
        }
        let full: Vec<u32> = (0..16).collect();
        let plain = RedisRestoreOptions::default();
        assert_eq!(
            places(&[0], &plain, None, &full),
            Err(SourceErrorKind::Occupied)
        );
        assert_eq!(
            places(&[], &plain, None, &[]),
            Err(SourceErrorKind::Missing)
        );
    }

    #[test]
    fn selection_renames_and_moves_expiries() {
        let record = |key: &str, at| Record {
            key: key.as_bytes().to_vec(),
            expires_ms: at,
            value: Value::String(b"v".to_vec()),
        };
        let mut selection = Selection {
            key_patterns: vec!["no".to_owned(), "app:*".to_owned()],
            prefix: Some(PrefixChange {
                from: "app:".to_owned(),
                to: "test:".to_owned(),
            }),
            ttl: TtlChange::Shift { by_ms: 10 },
        };
        assert_eq!(
            selection.apply(record("app:1", Some(5))),
            Some(record("test:1", Some(15)))
        );
        assert_eq!(
            selection.apply(record("app:1", None)),
            Some(record("test:1", None))
        );
        assert_eq!(selection.apply(record("other", None)), None);
        let all = Selection {
            key_patterns: Vec::new(),
            prefix: None,
            ttl: TtlChange::Keep,
        };
        for own in OWN_KEYS {
            assert_eq!(all.name(own), None, "{}", own.escape_ascii());
        }
        selection.ttl = TtlChange::Drop;
        assert_eq!(
            selection.apply(record("app:1", Some(5))),
            Some(record("test:1", None))
        );
    }

    #[test]
    fn memory_is_refused_where_it_would_not_suffice() {
        let load = Load {
            keys: 1_000,
            bytes: 1_000_000,
            elements: 1_000,
            largest: 0,
        };
        let memory = |used, max, system| Memory {
            used,
            max,
            system,
            evicts: true,
        };
        assert!(load.check_memory(&memory(1_000_000, 3_000_000, 0)).is_ok());
        assert!(load.check_memory(&memory(2_000_000, 3_000_000, 0)).is_err());
        assert!(load.check_memory(&memory(2_000_000, 0, 3_000_000)).is_err());
        assert!(load.check_memory(&memory(2_000_000, 0, 0)).is_ok());
        let of_one = Load {
            largest: 1_000_000,
            ..load
        };
        assert!(
            of_one
                .check_memory(&memory(1_000_000, 3_000_000, 0))
                .is_err()
        );
    }
}
