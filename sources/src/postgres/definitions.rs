//! What of a database is read the moment it is opened, while the next one is being opened.
//!
//! A server writes definitions as they are now and not as its snapshot shows them, and what no lock of ours is on (views,
//! functions, sequences) may be changed or dropped while a capture runs for hours. As with pg_dump itself, a moment
//! remains.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use keepstone_engine::path::percent_encode;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::catalog::{self, Sequence};
use super::facts::{self, DatabaseFacts};
use super::schema::{PgDump, Section};
use super::settings::PostgresSettings;
use super::snapshot::OpenedDatabase;
use super::sql;
use super::wire::Stop;

/// How often a wait looks whether the user asked to stop.
const TICK: Duration = Duration::from_millis(200);

/// Everything of a database but its rows.
pub(crate) struct Definitions {
    /// Facts of the database.
    pub(crate) facts: DatabaseFacts,
    /// Where sequences stand: a little ahead of the snapshot.
    pub(crate) sequences: Vec<Sequence>,
    /// Schema that rows need.
    pub(crate) schema_pre: Vec<u8>,
    /// Schema that comes after the rows.
    pub(crate) schema_post: Vec<u8>,
}

/// A database at its instant, with its definitions.
pub(crate) struct ReadDatabase {
    /// Session, snapshot and tables.
    pub(crate) opened: OpenedDatabase,
    /// Everything else.
    pub(crate) definitions: Definitions,
}

/// Reads databases side by side.
pub(crate) struct Readers {
    stop: Stop,
    jobs: Option<Sender<OpenedDatabase>>,
    done: Receiver<Result<ReadDatabase, SourceError>>,
    threads: Vec<JoinHandle<()>>,
    given: usize,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(settings: &PostgresSettings, pg_dump: &PgDump, stop: &Stop) -> Self {
        let (jobs, taken) = unbounded::<OpenedDatabase>();
        let (read, done) = unbounded();
        let threads = (0..settings.connections).map(|_| {
            let (taken, read) = (taken.clone(), read.clone());
            let (settings, pg_dump, stop) = (settings.clone(), pg_dump.clone(), stop.clone());
            thread::spawn(move || {
                while let Ok(opened) = taken.recv() {
                    if read
                        .send(with_definitions(&settings, &pg_dump, opened, &stop))
                        .is_err()
                    {
                        return;
                    }
                }
            })
        });
        Self {
            stop: stop.clone(),
            jobs: Some(jobs),
            done,
            threads: threads.collect(),
            given: 0,
        }
    }

    /// Has a database read.
    pub(crate) fn give(&mut self, opened: OpenedDatabase) {
        self.given += 1;
        if let Some(jobs) = &self.jobs {
            // Threads that are gone are noticed at the end.
            let _ = jobs.send(opened);
        }
    }

    /// Waits for all that were given and hands them over in the order of their streams.
    pub(crate) fn finish(
        &mut self,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<ReadDatabase>, SourceError> {
        self.jobs = None;
        let mut found = Vec::with_capacity(self.given);
        while found.len() < self.given {
            if cancelled() {
                self.stop.set();
            }
            match self.done.recv_timeout(TICK) {
                Ok(read) => found.push(read?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let act = "cannot read what the databases hold";
                    return Err(SourceError::new(SourceErrorKind::Other, act));
                }
            }
        }
        found.sort_by_key(|database| percent_encode(&database.opened.name));
        Ok(found)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.set();
        self.jobs = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn with_definitions(
    settings: &PostgresSettings,
    pg_dump: &PgDump,
    mut opened: OpenedDatabase,
    stop: &Stop,
) -> Result<ReadDatabase, SourceError> {
    let OpenedDatabase { name, session, .. } = &mut opened;
    let act = |what: &str| format!("cannot read {what} of database {name}");
    let facts = facts::read(session).map_err(|error| error.during(act("the facts")))?;
    let sequences =
        catalog::sequences(session).map_err(|error| error.during(act("the sequences")))?;
    let mut schema = |section| {
        let script = pg_dump.schema(settings, name, session, section, stop)?;
        // A restore and an export run it statement by statement: better to hear now that they could not.
        sql::statements(&script).map_err(|error| {
            let act = act("the schema");
            SourceError::new(SourceErrorKind::Other, act).because(error)
        })?;
        Ok::<_, SourceError>(script)
    };
    let definitions = Definitions {
        facts,
        sequences,
        schema_pre: schema(Section::Pre)?,
        schema_post: schema(Section::Post)?,
    };
    Ok(ReadDatabase {
        opened,
        definitions,
    })
}
