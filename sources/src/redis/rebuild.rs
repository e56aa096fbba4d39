//! The target: plans against a live server, and hands each step to the file that does it.

use std::collections::{BTreeMap, BTreeSet};

use keepstone_engine::source::{
    Items, Phase, RestorePlan, SourceError, SourceErrorKind, StreamFacts, Target, Validation,
};

use super::capture::{ELEMENTS, EXPIRING_HASHES, KEY_PATTERN, OPENED_MS, path};
use super::client::{Client, text_of};
use super::discard;
use super::format::encode_record;
use super::marker::{MARKER_KEY, Marker, RestoreId, Stage};
use super::plan::{
    Extent, Load, MOVED_KEYS_MAX, Memory, Place, RedisRestoreOptions, Room, Selection, State, Ttl,
    TtlChange, Way, choose_places, refuse,
};
use super::rdb::version;
use super::server::{ServerFacts, database_count, time_ms};
use super::settings::RedisSettings;
use super::stage::{for_each_record, stage};
use super::switch;
use super::validate::validate;

/// A live server that a capture is put back into.
#[derive(Debug)]
pub struct RedisTarget {
    settings: RedisSettings,
    options: RedisRestoreOptions,
}

impl RedisTarget {
    /// Connects with each step. The options matter to the plan only: later steps have them from there.
    pub fn new(settings: RedisSettings, options: RedisRestoreOptions) -> Self {
        Self { settings, options }
    }
}

impl Target for RedisTarget {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn plan(&self, items: &dyn Items) -> Result<RestorePlan, SourceError> {
        let mut client = Client::connect(&self.settings)?;
        Planner {
            client: &mut client,
            settings: &self.settings,
            options: &self.options,
            items,
        }
        .plan()
    }

    fn stage(&self, plan: &RestorePlan, items: &dyn Items) -> Result<(), SourceError> {
        let state = State::of(&plan.state)?;
        stage(&mut Client::connect(&self.settings)?, &state, items)
    }

    fn validate(&self, plan: &RestorePlan, items: &dyn Items) -> Result<Validation, SourceError> {
        let state = State::of(&plan.state)?;
        validate(&mut Client::connect(&self.settings)?, &state, items)
    }

    fn switch(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        let state = State::of(&plan.state)?;
        switch::switch(&mut Client::connect(&self.settings)?, &state)
    }

    fn kept(&self, plan: &RestorePlan) -> Result<Vec<String>, SourceError> {
        let state = State::of(&plan.state)?;
        discard::kept(&mut Client::connect(&self.settings)?, &state, &plan.keeps)
    }

    fn rollback(&self, plan: &RestorePlan, phase: Phase) -> Result<(), SourceError> {
        let state = State::of(&plan.state)?;
        switch::rollback(&mut Client::connect(&self.settings)?, &state, phase)
    }

    fn may_discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        let state = State::of(&plan.state)?;
        discard::may_discard(&mut Client::connect(&self.settings)?, &state, &plan.keeps)
    }

    fn discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        let state = State::of(&plan.state)?;
        discard::discard(&mut Client::connect(&self.settings)?, &state, &plan.keeps)
    }
}

struct Planner<'a> {
    client: &'a mut Client,
    settings: &'a RedisSettings,
    options: &'a RedisRestoreOptions,
    items: &'a dyn Items,
}

impl Planner<'_> {
    fn plan(mut self) -> Result<RestorePlan, SourceError> {
        let facts = self.server()?;
        let captured = databases_of(self.items)?;
        let markers = self.markers(&facts)?;
        let room = self.room(&facts, &markers)?;
        let numbers: BTreeSet<u32> = captured.keys().copied().collect();
        let extent = match self.captured_pattern() {
            Some(_) => Extent::Part,
            None => Extent::Whole,
        };
        let (way, places) = choose_places(&numbers, extent, self.options, self.settings, &room)?;
        check_targets(&places, &markers)?;
        self.check_functions(&facts)?;
        let selection = self.selection()?;
        let load = match way {
            Way::Swap => load_of_facts(&places, &captured),
            Way::Keys => load_of_keys(&places, &selection, self.items)?,
        };
        // The capture may have taken long to read.
        self.client.revive()?;
        check_expiring_fields(&places, &captured, &facts, self.options)?;
        load.check_memory(&Memory {
            used: facts.used_memory,
            max: facts.maxmemory,
            system: facts.system_memory,
            evicts: facts.maxmemory_policy != "noeviction",
        })?;
        let id = RestoreId::random().map_err(|error| {
            refuse(SourceErrorKind::Other, "cannot name the restore").because(error.to_string())
        })?;
        let state = State {
            id,
            way,
            places,
            selection,
            functions: self.options.functions,
            detail: facts.stream_detail(),
        };
        self.describe(&state, load, &facts)
    }

    /// Facts of a server that can be restored into.
    fn server(&mut self) -> Result<ServerFacts, SourceError> {
        let place = self.client.place().to_owned();
        let facts = ServerFacts::read(self.client)?.ok_or_else(|| {
            let text =
                format!("the user may not read INFO of redis at {place}, which a restore needs");
            refuse(SourceErrorKind::Denied, text)
        })?;
        let problem = if facts.cluster {
            "is a node of a cluster, where databases cannot be swapped: \
             export the capture and load it with redis-cli --pipe"
        } else if facts.replica {
            "is a replica: restore into its master"
        } else {
            return Ok(facts);
        };
        let text = format!("redis at {place} {problem}");
        Err(refuse(SourceErrorKind::Preflight, text))
    }

    /// What the databases with anything in them tell of earlier restores.
    fn markers(&mut self, facts: &ServerFacts) -> Result<BTreeMap<u32, Marker>, SourceError> {
        let mut markers = BTreeMap::new();
        for db in facts.keys.keys() {
            if let Some(marker) = self.marker(*db)? {
                markers.insert(*db, marker);
            }
        }
        Ok(markers)
    }

    fn room(
        &mut self,
        facts: &ServerFacts,
        markers: &BTreeMap<u32, Marker>,
    ) -> Result<Room, SourceError> {
        let is_undone = |db: &u32| {
            let marker = markers.get(db);
            marker.is_some_and(|marker| marker.stage == Stage::Undone)
        };
        // One that only holds the mark of a restore that was undone is empty.
        let holds_keys = |(db, keys): (&u32, &u64)| (*keys > 1 || !is_undone(db)).then_some(*db);
        Ok(Room {
            count: database_count(self.client)?,
            occupied: facts.keys.iter().filter_map(holds_keys).collect(),
            awaited: unfinished(markers)
                .map(|(_, marker)| marker.target)
                .collect(),
        })
    }

    /// The pattern of the only keys that were captured.
    fn captured_pattern(&self) -> Option<&str> {
        let attributes = &self.items.open_facts().attributes;
        attributes.get(KEY_PATTERN)?.as_str()
    }

    fn marker(&mut self, db: u32) -> Result<Option<Marker>, SourceError> {
        self.client.select(db)?;
        let value = self
            .client
            .ask("read a key", &["GET".as_bytes(), MARKER_KEY])?;
        let text = value.ok().as_ref().and_then(text_of);
        Ok(text.and_then(|text| Marker::parse(text.as_bytes())))
    }

    fn check_functions(&self, facts: &ServerFacts) -> Result<(), SourceError> {
        if !self.options.functions {
            return Ok(());
        }
        if !facts.is_seven() {
            let text = "the server knows no functions: they came with redis 7.0";
            return Err(refuse(SourceErrorKind::Preflight, text));
        }
        if self.items.get(&path(&["functions"])?)?.is_none() {
            let text = "the capture holds no functions: the server it is of had none, or the user \
                        might not list them";
            return Err(refuse(SourceErrorKind::Missing, text));
        }
        Ok(())
    }

    fn selection(&mut self) -> Result<Selection, SourceError> {
        let ttl = match self.options.ttl {
            Ttl::Keep => TtlChange::Keep,
            Ttl::Drop => TtlChange::Drop,
            Ttl::Shift => {
                let opened = self.items.open_facts().attributes.get(OPENED_MS);
                let opened_ms = opened
                    .and_then(serde_json::Value::as_u64)
                    .filter(|at| *at > 0);
                let opened_ms = opened_ms.ok_or_else(|| {
                    let text =
                        "the capture does not say when it was made, so expiries cannot be shifted";
                    refuse(SourceErrorKind::Missing, text)
                })?;
                let now_ms = time_ms(self.client)?;
                TtlChange::Shift {
                    by_ms: now_ms.saturating_sub(opened_ms),
                }
            }
        };
        Ok(Selection {
            key_patterns: self.options.key_patterns.clone(),
            prefix: self.options.prefix.clone(),
            ttl,
        })
    }

    fn describe(
        &mut self,
        state: &State,
        load: Load,
        facts: &ServerFacts,
    ) -> Result<RestorePlan, SourceError> {
        let live = |db: u32| facts.keys.get(&db).copied().unwrap_or(0);
        let mut plan = RestorePlan {
            creates: Vec::new(),
            replaces: Vec::new(),
            keeps: Vec::new(),
            warnings: Vec::new(),
            size_bytes: load.memory_bytes(),
            state: serde_json::to_value(state).map_err(|error| {
                refuse(SourceErrorKind::Other, "cannot write down the plan").because(error)
            })?,
        };
        for place in &state.places {
            let Place {
                source,
                target,
                staging,
                keep,
            } = *place;
            plan.creates.push(format!(
                "database {source} of the capture, staged in database {staging}"
            ));
            let keys = live(target);
            match keep {
                None if keys > 0 => {
                    plan.replaces
                        .push(format!("database {target} ({keys} keys)"));
                    plan.keeps.push(place.whole_kept());
                }
                None => {}
                Some(keep) => {
                    plan.replaces
                        .push(format!("keys of the same names in database {target}"));
                    plan.keeps
                        .push(format!("those keys as they were, in database {keep}"));
                }
            }
        }
        if state.functions {
            plan.replaces.push("all functions of the server".to_owned());
            plan.keeps.push(format!(
                "the functions as they were, in database {}",
                state.control()
            ));
        }
        self.warn(state, facts, &mut plan.warnings)?;
        Ok(plan)
    }

    fn warn(
        &mut self,
        state: &State,
        facts: &ServerFacts,
        warnings: &mut Vec<String>,
    ) -> Result<(), SourceError> {
        let targets: BTreeSet<u32> = state.places.iter().map(|place| place.target).collect();
        for (db, keys) in facts.keys.iter().filter(|(db, _)| !targets.contains(db)) {
            if self.marker(*db)?.is_none() {
                warnings.push(format!("database {db} with {keys} keys stays as it is"));
            }
        }
        let captured = self.items.open_facts().version.clone();
        if let (Some(captured), Some(server)) = (captured, facts.version_text())
            && captured != server
        {
            warnings.push(format!(
                "the capture is of {captured} and the server is {server}"
            ));
        }
        if let Some(pattern) = self.captured_pattern() {
            let stay = match state.way {
                Way::Keys => ": other keys stay as they are",
                Way::Swap => "",
            };
            warnings.push(format!("the capture holds only keys like {pattern}{stay}"));
        }
        if state.way == Way::Swap {
            let text = "what is written to the live databases between staging and switch is kept with \
                        the old data, and is not in the restored data";
            warnings.push(text.to_owned());
        }
        Ok(())
    }
}

/// The databases that a capture holds, with what was said of them.
pub(super) fn databases_of(items: &dyn Items) -> Result<BTreeMap<u32, StreamFacts>, SourceError> {
    let mut databases = BTreeMap::new();
    items.walk(&mut |item| {
        let text = item.path.as_bytes().strip_prefix(b"db/");
        let db = text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        if let Some(db) = db {
            let mut facts = item.facts;
            facts
                .attributes
                .insert("bytes".to_owned(), item.size_bytes.into());
            databases.insert(db, facts);
        }
        Ok(())
    })?;
    Ok(databases)
}

fn number(facts: &StreamFacts, name: &str) -> u64 {
    let value = facts.attributes.get(name);
    value.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

fn load_of_facts(places: &[Place], captured: &BTreeMap<u32, StreamFacts>) -> Load {
    let mut load = Load::default();
    for facts in places
        .iter()
        .filter_map(|place| captured.get(&place.source))
    {
        let keys = facts.records.unwrap_or(0);
        load.keys += keys;
        load.bytes += number(facts, "bytes");
        load.elements += number(facts, ELEMENTS);
    }
    load
}

/// Reads the capture to learn what the selected keys weigh.
fn load_of_keys(
    places: &[Place],
    selection: &Selection,
    items: &dyn Items,
) -> Result<Load, SourceError> {
    let mut load = Load::default();
    let mut bytes = Vec::new();
    for place in places {
        for_each_record(items, place.source, &mut |record, _| {
            if let Some(record) = selection.apply(record) {
                bytes.clear();
                encode_record(&record, &mut bytes);
                load.keys += 1;
                // Its name is also in the list of what is moved.
                let size = u64::try_from(bytes.len() + record.key.len()).unwrap_or(u64::MAX);
                load.bytes += size;
                load.largest = load.largest.max(size);
                load.elements += u64::try_from(record.value.elements()).unwrap_or(u64::MAX);
            }
            Ok(())
        })?;
    }
    if load.keys == 0 {
        let text = "no key of the capture is selected by the pattern and the prefix";
        return Err(refuse(SourceErrorKind::Missing, text));
    }
    if load.keys > MOVED_KEYS_MAX {
        let text = format!(
            "{} keys are selected and at most {MOVED_KEYS_MAX} can be moved at once: narrow the \
             pattern, or restore the whole database into an empty one",
            load.keys
        );
        return Err(refuse(SourceErrorKind::Preflight, text));
    }
    Ok(load)
}

fn check_expiring_fields(
    places: &[Place],
    captured: &BTreeMap<u32, StreamFacts>,
    facts: &ServerFacts,
    options: &RedisRestoreOptions,
) -> Result<(), SourceError> {
    let any = places
        .iter()
        .filter_map(|place| captured.get(&place.source))
        .any(|facts| number(facts, EXPIRING_HASHES) > 0);
    if any && options.ttl != Ttl::Drop && facts.rdb_version() < version::FIELD_EXPIRY {
        let text = "the capture holds hashes with fields that expire, which this server does not know: \
                    restore into redis 7.4 or later, or without expiries";
        return Err(refuse(SourceErrorKind::Preflight, text));
    }
    Ok(())
}

/// Restores that may still be undone, by the databases that tell of them.
fn unfinished(markers: &BTreeMap<u32, Marker>) -> impl Iterator<Item = (&u32, &Marker)> {
    markers
        .iter()
        .filter(|(_, marker)| marker.stage != Stage::Undone)
}

/// Two restores of one database could only be undone in the right order.
fn check_targets(places: &[Place], markers: &BTreeMap<u32, Marker>) -> Result<(), SourceError> {
    for (db, marker) in unfinished(markers) {
        let target = marker.target;
        let mut places = places.iter();
        if places.any(|place| place.target == target || place.target == *db) {
            let text = format!(
                "database {db} holds what an earlier restore of database {target} has staged or kept: roll that back or \
                 discard it first"
            );
            return Err(refuse(SourceErrorKind::Occupied, text));
        }
    }
    Ok(())
}
