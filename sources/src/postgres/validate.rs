//! Validation: what was rebuilt is read back in canonical form and compared with what was recorded.
//!
//! Every row of every table is counted and summed; sequences and large objects are compared; and where pg_dump can
//! be had in the version of the capture, the schemas too, statement by statement.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use keepstone_engine::source::{Digest, Items, SourceError, SourceErrorKind, Validation};

use super::capture::major_of;
use super::catalog::{self, Sequence, Table};
use super::large_objects;
use super::layout::{self, Part};
use super::plan::tables_of;
use super::rebuild::{DatabasePlan, PlanState};
use super::rows::{self, Piece, ReadAhead, ReadPlan, RowSum};
use super::schema::{PgDump, Section};
use super::settings::PostgresSettings;
use super::snapshot::OpenedDatabase;
use super::sql::{self, headline};
use super::stage::watched;
use super::wire::Stop;

/// How often a wait for a worker looks whether it should go on.
const TICK: Duration = Duration::from_millis(200);
/// The most differences between two schemas that are told.
const SCHEMA_DIFFERENCES_MAX: usize = 5;

/// Compares every staged database with the capture.
pub(crate) fn validate(
    settings: &PostgresSettings,
    state: &PlanState,
    items: &dyn Items,
) -> Result<Validation, SourceError> {
    watched(items, |stop| {
        let mut validation = Validation::default();
        for database in &state.databases {
            let name = database.staged.clone();
            let mut opened = OpenedDatabase::open(settings, name, stop)?;
            let mut comparison = Comparison {
                settings,
                state,
                database,
                items,
                stop,
                found: &mut validation,
                families: BTreeMap::new(),
            };
            comparison.run(&mut opened)?;
        }
        Ok(validation)
    })
}

struct Comparison<'a> {
    settings: &'a PostgresSettings,
    state: &'a PlanState,
    database: &'a DatabasePlan,
    items: &'a dyn Items,
    stop: &'a Stop,
    found: &'a mut Validation,
    /// Parts of a table that was loaded as one, by its schema and name.
    families: BTreeMap<(String, String), Family>,
}

/// Rows of several tables together: as captured, and as found.
#[derive(Default)]
struct Family {
    captured: (u64, Digest),
    found: (u64, Digest),
}

fn put(sum: &mut (u64, Digest), rows: u64, digest: Digest) {
    *sum = (sum.0.saturating_add(rows), sum.1.plus(digest));
}

impl Comparison<'_> {
    fn run(&mut self, opened: &mut OpenedDatabase) -> Result<(), SourceError> {
        let mut tables = self.tables_by_name(opened)?;
        self.rows(opened, &mut tables)?;
        self.families();
        self.sequences(opened)?;
        if self.state.selection.is_whole() {
            self.large_objects(opened)?;
            self.schema(opened)?;
        }
        Ok(())
    }

    fn differ(&mut self, difference: &str) {
        self.found
            .differences
            .push(format!("database {}: {difference}", self.database.captured));
    }

    /// Keeps the tables that were asked for and tells of those that are too many or too few.
    fn tables_by_name(
        &mut self,
        opened: &mut OpenedDatabase,
    ) -> Result<BTreeMap<String, Table>, SourceError> {
        let captured = tables_of(self.items, &self.database.captured)?;
        let mut wanted: BTreeMap<String, Table> = captured
            .into_iter()
            .filter(|table| self.state.selection.holds(table))
            .map(|table| (table.sql(), table))
            .collect();
        let whole = self.state.selection.is_whole();
        let mut extra = Vec::new();
        opened.contents.tables.retain(|table| {
            let known = wanted.contains_key(&table.sql());
            if !known && whole {
                extra.push(table.shown());
            }
            known
        });
        for name in extra {
            self.differ(&format!("table {name} was not captured"));
        }
        let there: BTreeSet<_> = opened.contents.tables.iter().map(Table::sql).collect();
        let lost: Vec<_> = wanted
            .values()
            .filter(|table| !there.contains(&table.sql()))
            .cloned()
            .collect();
        for table in lost {
            self.differ(&format!("table {} is missing", table.shown()));
            wanted.remove(&table.sql());
        }
        Ok(wanted)
    }

    fn rows(
        &mut self,
        opened: &mut OpenedDatabase,
        wanted: &mut BTreeMap<String, Table>,
    ) -> Result<(), SourceError> {
        let OpenedDatabase {
            name,
            session,
            snapshot,
            contents,
        } = opened;
        let plan = ReadPlan {
            settings: self.settings,
            database: name,
            snapshot,
            tables: &contents.tables,
        };
        let stop = self.stop;
        thread::scope(|scope| {
            let mut ahead = ReadAhead::start(scope, plan, stop);
            for table in &contents.tables {
                let Some(pieces) = ahead.next() else { break };
                let act = format!("cannot read table {} of database {name}", table.shown());
                let sum = loop {
                    match pieces.recv_timeout(TICK) {
                        Ok(Piece::Block(_)) => {}
                        Ok(Piece::End(sum)) => break Ok(sum),
                        Ok(Piece::Busy) => {
                            let read = rows::read_table(session, table, &mut |_| Ok(()));
                            break read.map_err(|error| error.during(act));
                        }
                        Ok(Piece::Failed(error)) => break Err(error),
                        Err(RecvTimeoutError::Timeout) if !stop.is_set() => {}
                        Err(RecvTimeoutError::Timeout) => {
                            break Err(SourceError::new(SourceErrorKind::Cancelled, act));
                        }
                        Err(RecvTimeoutError::Disconnected) => {
                            break Err(SourceError::new(SourceErrorKind::Interrupted, act));
                        }
                    }
                };
                let compared =
                    sum.and_then(|sum| self.compare(table, wanted.get(&table.sql()), &sum));
                if let Err(error) = compared {
                    stop.set();
                    return Err(error);
                }
                ahead.hand_out();
            }
            Ok(())
        })
    }

    fn compare(
        &mut self,
        table: &Table,
        captured: Option<&Table>,
        sum: &RowSum,
    ) -> Result<(), SourceError> {
        let shown = table.shown();
        if captured.is_some_and(|captured| captured.columns != table.columns) {
            self.differ(&format!("table {shown} has other columns"));
        }
        let path = table.path(&self.database.captured)?;
        let facts = self
            .items
            .get(&path)?
            .map(|item| item.facts)
            .unwrap_or_default();
        self.found.records += sum.rows;
        if let Some(root) = captured.and_then(|captured| captured.root.clone()) {
            let family = self.families.entry(root).or_default();
            let (rows, digest) = (facts.records, facts.digest);
            put(
                &mut family.captured,
                rows.unwrap_or_default(),
                digest.unwrap_or_default(),
            );
            put(&mut family.found, sum.rows, sum.digest);
            return Ok(());
        }
        if facts.records != Some(sum.rows) {
            let expected = facts.records.unwrap_or_default();
            self.differ(&format!(
                "table {shown} has {} rows instead of {expected}",
                sum.rows
            ));
        } else if facts.digest != Some(sum.digest) {
            self.differ(&format!("table {shown} has other rows than were captured"));
        }
        Ok(())
    }

    /// Compares what lies in different parts here and there, and is the same as a whole.
    fn families(&mut self) {
        for ((schema, name), family) in std::mem::take(&mut self.families) {
            let (expected, rows) = (family.captured.0, family.found.0);
            if expected != rows {
                self.differ(&format!(
                    "table {schema}.{name} has {rows} rows instead of {expected}"
                ));
            } else if family.captured != family.found {
                self.differ(&format!(
                    "table {schema}.{name} has other rows than were captured"
                ));
            }
        }
    }

    fn sequences(&mut self, opened: &mut OpenedDatabase) -> Result<(), SourceError> {
        let act = format!("cannot read the sequences of database {}", opened.name);
        let found = catalog::sequences(&mut opened.session).map_err(|error| error.during(act))?;
        let path = Part::Sequences.path(&self.database.captured)?;
        let captured: Vec<Sequence> = layout::get_lines(self.items, &path)?;
        let whole = self.state.selection.is_whole();
        for expected in captured {
            let same_name = found
                .iter()
                .find(|other| (&other.schema, &other.name) == (&expected.schema, &expected.name));
            let name = format!("{}.{}", expected.schema, expected.name);
            match same_name {
                Some(other) if *other != expected => self.differ(&format!(
                    "sequence {name} stands at {} instead of {}",
                    other.last_value, expected.last_value
                )),
                None if whole => self.differ(&format!("sequence {name} is missing")),
                _ => {}
            }
        }
        Ok(())
    }

    fn large_objects(&mut self, opened: &mut OpenedDatabase) -> Result<(), SourceError> {
        let act = format!("cannot read the large objects of database {}", opened.name);
        let owners = large_objects::owners(&mut opened.session)
            .map_err(|error| error.during(act.as_str()))?;
        let sum = large_objects::read(&mut opened.session, &owners, &mut |_, _| Ok(()))
            .map_err(|error| error.during(act))?;
        let path = Part::LargeObjects.path(&self.database.captured)?;
        let expected = self
            .items
            .get(&path)?
            .map(|item| item.facts)
            .unwrap_or_default();
        let same = expected.records.unwrap_or_default() == sum.rows
            && expected.digest.unwrap_or_default() == sum.digest;
        if !same {
            self.differ("the large objects are not those that were captured");
        }
        self.found.records += owners.len() as u64;
        Ok(())
    }

    fn schema(&mut self, opened: &mut OpenedDatabase) -> Result<(), SourceError> {
        let facts = self.items.open_facts();
        let captured_by = facts
            .attributes
            .get("pg_dump")
            .and_then(serde_json::Value::as_str);
        let captured_from = facts.version.as_deref().map(major_of);
        let major = major_of(opened.session.version());
        let pg_dump = PgDump::find(self.settings, major).ok();
        let Some(pg_dump) = pg_dump
            .filter(|tool| captured_by == Some(&tool.version) && captured_from == Some(major))
            .filter(|_| self.state.owners && self.database.lost_tablespaces.is_empty())
        else {
            let note = "the schema was not compared: that needs the server version and pg_dump of the capture, and owners";
            self.found
                .notes
                .push(format!("database {}: {note}", self.database.captured));
            return Ok(());
        };
        for (part, section) in [
            (Part::SchemaPre, Section::Pre),
            (Part::SchemaPost, Section::Post),
        ] {
            let captured = layout::get_bytes(self.items, &part.path(&self.database.captured)?)?
                .unwrap_or_default();
            let OpenedDatabase { name, session, .. } = &mut *opened;
            let rebuilt = pg_dump.schema(self.settings, name, session, section, self.stop)?;
            if captured != rebuilt {
                self.statements(&captured, &rebuilt)?;
            }
        }
        Ok(())
    }

    /// Compares two scripts whose statements may come in another order.
    fn statements(&mut self, captured: &[u8], rebuilt: &[u8]) -> Result<(), SourceError> {
        let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
        for statement in sql::statements(captured)? {
            *counts.entry(statement).or_default() += 1;
        }
        for statement in sql::statements(rebuilt)? {
            *counts.entry(statement).or_default() -= 1;
        }
        let different = counts.into_iter().filter(|(_, count)| *count != 0);
        for (statement, count) in different.take(SCHEMA_DIFFERENCES_MAX) {
            let headline = headline(statement);
            self.differ(&if count > 0 {
                format!("the schema lacks `{headline}`")
            } else {
                format!("the schema has `{headline}`, which was not captured")
            });
        }
        Ok(())
    }
}
