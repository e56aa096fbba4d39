//! The streams of one opened database, in the order of their names.

use std::mem::take;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use keepstone_engine::source::{
    Attributes, CaptureReport, CollectionFacts, Profile, Sink, SourceError, SourceErrorKind,
    StreamFacts,
};
use serde_json::json;

use super::catalog::{Contents, Sequence, Table};
use super::client::Session;
use super::definitions::{Definitions, ReadDatabase};
use super::facts::DatabaseFacts;
use super::large_objects;
use super::layout::{self, Part};
use super::rows::{self, Piece, ReadAhead, ReadPlan, RowSum};
use super::settings::PostgresSettings;
use super::snapshot::OpenedDatabase;
use super::wire::Stop;

/// How often a wait for a worker looks whether the user asked to stop.
const TICK: Duration = Duration::from_millis(200);

/// Emits every stream of a database.
pub(crate) fn database(
    settings: &PostgresSettings,
    database: &mut ReadDatabase,
    stop: &Stop,
    sink: &mut dyn Sink,
    report: &mut CaptureReport,
) -> Result<(), SourceError> {
    let ReadDatabase {
        opened,
        definitions,
    } = database;
    let OpenedDatabase {
        name,
        session,
        snapshot,
        contents,
    } = opened;
    let Definitions {
        facts,
        sequences,
        schema_pre,
        schema_post,
    } = definitions;
    let plan = ReadPlan {
        settings,
        database: name,
        snapshot,
        tables: &contents.tables,
    };
    warn(name, contents, report);
    thread::scope(|scope| {
        let ahead = ReadAhead::start(scope, plan, stop);
        let mut emitter = Emitter {
            name,
            session,
            sink,
            report,
        };
        let emitted = emitter
            .facts(facts)
            .and_then(|()| emitter.large_objects())
            .and_then(|()| emitter.sql(Part::SchemaPost, take(schema_post)))
            .and_then(|()| emitter.sql(Part::SchemaPre, take(schema_pre)))
            .and_then(|()| emitter.sequences(sequences))
            .and_then(|()| emitter.tables(&contents.tables, ahead));
        if emitted.is_err() {
            // Whoever still reads need not go on.
            stop.set();
        }
        emitted
    })
}

fn warn(name: &str, contents: &Contents, report: &mut CaptureReport) {
    for table in &contents.foreign_tables {
        report.warnings.push(format!(
            "foreign table {name}/{table}: its definition was saved, its rows live elsewhere"
        ));
    }
    let (rowless, unlogged): (Vec<_>, Vec<_>) = contents
        .tables
        .iter()
        .filter(|table| table.unlogged)
        .partition(|table| table.rowless);
    let [rowless, unlogged] = [rowless, unlogged].map(|tables| {
        let shown = tables.into_iter().map(Table::shown);
        shown.collect::<Vec<_>>().join(", ")
    });
    if !unlogged.is_empty() {
        report.warnings.push(format!(
            "unlogged tables of {name} were saved as they are: {unlogged}"
        ));
    }
    if !rowless.is_empty() {
        report.warnings.push(format!(
            "unlogged tables of {name} were saved empty, since a standby server has none of their rows: {rowless}"
        ));
    }
    if !contents.unknown_sequences.is_empty() {
        report.warnings.push(format!(
            "unlogged sequences of {name} will start anew, since a standby server does not know where they stand: {}",
            contents.unknown_sequences.join(", ")
        ));
    }
}

struct Emitter<'a> {
    name: &'a str,
    session: &'a mut Session,
    sink: &'a mut dyn Sink,
    report: &'a mut CaptureReport,
}

impl Emitter<'_> {
    fn act(&self, what: &str) -> String {
        format!("cannot read {what} of database {}", self.name)
    }

    fn facts(&mut self, facts: &DatabaseFacts) -> Result<(), SourceError> {
        let facts = std::slice::from_ref(facts);
        layout::put_lines(self.sink, Part::Facts.path(self.name)?, facts)
    }

    fn large_objects(&mut self) -> Result<(), SourceError> {
        let act = self.act("the large objects");
        let owners =
            large_objects::owners(self.session).map_err(|error| error.during(act.as_str()))?;
        if owners.is_empty() {
            return Ok(());
        }
        layout::put_lines(self.sink, Part::LargeObjectOwners.path(self.name)?, &owners)?;
        let path = Part::LargeObjects.path(self.name)?;
        self.sink.begin(layout::spec(path, Profile::Records))?;
        let sink = &mut *self.sink;
        let sum = large_objects::read(self.session, &owners, &mut |key, line| {
            sink.record(key, line)
        })
        .map_err(|error| error.during(act))?;
        self.sink.finish(stream_facts(&sum, Attributes::new()))?;
        self.report.collections.push(CollectionFacts {
            name: format!("{}/large objects", self.name),
            records: owners.len() as u64,
            bytes: sum.bytes,
            digest: Some(sum.digest),
        });
        Ok(())
    }

    /// Emits a part of the schema, and lets go of it: those of all databases are read by now.
    fn sql(&mut self, part: Part, text: Vec<u8>) -> Result<(), SourceError> {
        self.sink
            .begin(layout::spec(part.path(self.name)?, Profile::Bytes))?;
        self.sink.write(&text)?;
        drop(text);
        self.sink.finish(StreamFacts::default())
    }

    fn sequences(&mut self, sequences: &[Sequence]) -> Result<(), SourceError> {
        let path = Part::Sequences.path(self.name)?;
        layout::put_lines(self.sink, path, sequences)
    }

    fn tables(&mut self, tables: &[Table], mut ahead: ReadAhead) -> Result<(), SourceError> {
        for table in tables {
            let Some(pieces) = ahead.next() else { break };
            self.table(table, &pieces)?;
            ahead.hand_out();
        }
        layout::put_lines(self.sink, Part::Tables.path(self.name)?, tables)
    }

    fn table(&mut self, table: &Table, pieces: &Receiver<Piece>) -> Result<(), SourceError> {
        self.sink
            .begin(layout::spec(table.path(self.name)?, Profile::Records))?;
        let sum = loop {
            if self.sink.cancelled() {
                return Err(SourceError::new(
                    SourceErrorKind::Cancelled,
                    self.act(&table.shown()),
                ));
            }
            match pieces.recv_timeout(TICK) {
                Ok(Piece::Block(block)) => {
                    block.each(&mut |key, row| self.sink.record(key, row))?;
                }
                Ok(Piece::End(sum)) => break sum,
                Ok(Piece::Busy) => break self.table_alone(table)?,
                Ok(Piece::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let act = self.act(&table.shown());
                    return Err(SourceError::new(SourceErrorKind::Interrupted, act));
                }
            }
        };
        let mut attributes = Attributes::new();
        attributes.insert("key_sorted".into(), json!(table.key.is_some()));
        if table.unlogged {
            attributes.insert("unlogged".into(), json!(true));
        }
        if table.rowless {
            attributes.insert("rowless".into(), json!(true));
        }
        self.sink.finish(stream_facts(&sum, attributes))?;
        self.report.collections.push(CollectionFacts {
            name: format!("{}/{}", self.name, table.shown()),
            records: sum.rows,
            bytes: sum.bytes,
            digest: Some(sum.digest),
        });
        Ok(())
    }

    /// Reads a table over the session that holds its lock.
    fn table_alone(&mut self, table: &Table) -> Result<RowSum, SourceError> {
        let act = self.act(&format!("table {}", table.shown()));
        let sink = &mut *self.sink;
        rows::read_table(self.session, table, &mut |block| {
            Ok(block.each(&mut |key, row| sink.record(key, row))?)
        })
        .map_err(|error| error.during(act))
    }
}

fn stream_facts(sum: &RowSum, attributes: Attributes) -> StreamFacts {
    StreamFacts {
        records: Some(sum.rows),
        digest: Some(sum.digest),
        attributes,
    }
}
