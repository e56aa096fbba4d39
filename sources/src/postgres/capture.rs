//! Capture: a server's databases as streams, each database at one instant.
//!
//! Opening takes a shared lock on every table, then a snapshot, and has the schema read by pg_dump over the session that
//! holds both. Streaming reads the tables over several connections at that snapshot. Nothing is written on the server.

use keepstone_engine::path::percent_encode;
use keepstone_engine::source::{
    CaptureReport, Consistency, OpenFacts, Opened, Sink, Source, SourceError, SourceErrorKind,
};
use serde_json::json;

use super::client::Session;
use super::definitions::Readers;
use super::emit;
use super::layout;
use super::mark::id_of;
use super::names;
use super::roles;
use super::schema::PgDump;
use super::settings::{Databases, PostgresSettings};
use super::snapshot::OpenedDatabase;
use super::wire::Stop;

/// Databases that are asked, in turn, when the URL names none.
pub(crate) const MAINTENANCE_DATABASES: [&str; 2] = ["postgres", "template1"];

/// A server whose databases are to be saved.
#[derive(Debug)]
pub struct PostgresSource {
    settings: PostgresSettings,
}

impl PostgresSource {
    /// A source with these settings. Connects only when it is opened.
    pub fn new(settings: PostgresSettings) -> Self {
        Self { settings }
    }
}

impl Source for PostgresSource {
    fn kind(&self) -> &'static str {
        super::KIND
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn consistency(&self) -> Consistency {
        match &self.settings.databases {
            Databases::Named(names) if names.len() == 1 => Consistency::PointInTime,
            _ => Consistency::PerStream,
        }
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        let stop = Stop::default();
        let mut warnings = Vec::new();
        let names = match &self.settings.databases {
            Databases::Named(names) => names.clone(),
            Databases::All => all_databases(&self.settings, &stop, &mut warnings)?,
        };
        let mut names = names.into_iter();
        let first = names.next().ok_or_else(|| {
            let act = format!("no database to save at {}", self.settings.server());
            SourceError::new(SourceErrorKind::Missing, act)
        })?;
        let first = OpenedDatabase::open(&self.settings, first, &stop)?;
        let version = first.session.version().to_owned();
        let major = major_of(&version);
        let pg_dump = PgDump::find(&self.settings, major)?;
        if pg_dump.major > major {
            warnings.push(format!(
                "the schema was read by pg_dump {} from a server of version {version}; it may not load into a \
                 server as old as that one",
                pg_dump.version
            ));
        }
        let mut opened = PostgresOpened {
            settings: &self.settings,
            names: Vec::new(),
            readers: Readers::start(&self.settings, &pg_dump, &stop),
            pg_dump,
            version,
            warnings,
            stop,
        };
        opened.take(first);
        for name in names {
            let database = OpenedDatabase::open(&self.settings, name, &opened.stop)?;
            opened.take(database);
        }
        opened.names.sort_by_key(|name| percent_encode(name));
        Ok(Box::new(opened))
    }
}

/// The major number of a version such as `15.8 (Debian 15.8-1)`.
pub(crate) fn major_of(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Connects to a database that every server has.
pub(crate) fn maintenance(
    settings: &PostgresSettings,
    stop: &Stop,
) -> Result<Session, SourceError> {
    let mut last = None;
    for name in MAINTENANCE_DATABASES {
        match Session::connect(settings, name, stop.clone()) {
            Err(error) if error.kind() == SourceErrorKind::Missing => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| {
        SourceError::new(
            SourceErrorKind::Missing,
            "cannot find a database to connect to",
        )
    }))
}

fn all_databases(
    settings: &PostgresSettings,
    stop: &Stop,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, SourceError> {
    let mut session = maintenance(settings, stop)?;
    let sql =
        "SELECT datname, datallowconn, shobj_description(oid, 'pg_database'), datconnlimit = -2
        FROM pg_database WHERE NOT datistemplate ORDER BY 1";
    let rows = session.query(sql).map_err(|error| {
        error.during(format!(
            "cannot list the databases at {}",
            settings.server()
        ))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let name = row.text(0);
        // What a restore has not switched in yet, and what it keeps, is no part of the system.
        let staged =
            id_of(row.get(2)).is_some_and(|id| name.ends_with(&names::ending(names::STAGED, &id)));
        if staged || (!row.flag(1) && name.contains(&format!("__{}_", names::BEFORE))) {
            continue;
        }
        if row.flag(3) {
            warnings.push(format!(
                "database {name} was left out: a DROP DATABASE of it was cut off, and nobody can connect to it"
            ));
        } else if row.flag(1) {
            found.push(name);
        } else {
            warnings.push(format!(
                "database {name} was left out: it accepts no connections"
            ));
        }
    }
    Ok(found)
}

struct PostgresOpened<'a> {
    settings: &'a PostgresSettings,
    names: Vec<String>,
    readers: Readers,
    pg_dump: PgDump,
    version: String,
    warnings: Vec<String>,
    stop: Stop,
}

impl PostgresOpened<'_> {
    fn take(&mut self, database: OpenedDatabase) {
        self.names.push(database.name.clone());
        self.readers.give(database);
    }
}

impl Opened for PostgresOpened<'_> {
    fn facts(&self) -> OpenFacts {
        let mut attributes = keepstone_engine::source::Attributes::new();
        attributes.insert("databases".into(), json!(self.names));
        attributes.insert("pg_dump".into(), json!(self.pg_dump.version));
        let version = self
            .version
            .split_whitespace()
            .next()
            .map(ToOwned::to_owned);
        OpenFacts {
            version,
            attributes,
        }
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        let mut report = CaptureReport {
            warnings: self.warnings.clone(),
            ..CaptureReport::default()
        };
        let mut databases = self.readers.finish(&|| sink.cancelled())?;
        // Streams are emitted in the order of their names; `@roles` may lie between two databases.
        let mut roles_done = false;
        for database in &mut databases {
            let opened = &mut database.opened;
            if !roles_done && percent_encode(&opened.name).as_str() > "@" {
                emit_roles(opened, sink, &mut report)?;
                roles_done = true;
            }
            emit::database(self.settings, database, &self.stop, sink, &mut report)?;
        }
        if let Some(database) = databases.last_mut().filter(|_| !roles_done) {
            emit_roles(&mut database.opened, sink, &mut report)?;
        }
        Ok(report)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        // Nothing was changed: ending the sessions gives back snapshot and locks.
        Ok(())
    }
}

impl Drop for PostgresOpened<'_> {
    fn drop(&mut self) {
        // Whoever still reads need not go on.
        self.stop.set();
    }
}

fn emit_roles(
    database: &mut OpenedDatabase,
    sink: &mut dyn Sink,
    report: &mut CaptureReport,
) -> Result<(), SourceError> {
    let found = roles::read(&mut database.session)
        .map_err(|error| error.during("cannot read the roles"))?;
    if !found.passwords {
        report
            .warnings
            .push("passwords of roles were left out: only a superuser can read them".to_owned());
    }
    layout::put_lines(sink, layout::roles_path()?, &found.roles)
}
