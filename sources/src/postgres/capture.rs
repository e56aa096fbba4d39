//! Capture: a server's databases as streams, each database at one instant.
//!
//! Opening takes a snapshot and a shared lock on every table. Streaming reads the schema with pg_dump and the tables
//! over several connections, all of them at that snapshot. Nothing is written on the server.

use std::thread::{self, JoinHandle};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, Consistency, OpenFacts, Opened, Sink, Source, SourceError, SourceErrorKind,
};
use serde_json::json;

use super::catalog::{self, Contents};
use super::client::Session;
use super::emit;
use super::error::PgError;
use super::layout;
use super::roles;
use super::rows::PLAIN_SCANS;
use super::schema::{PgDump, Section};
use super::settings::{Databases, PostgresSettings};
use super::sql::literal;
use super::wire::Stop;

/// Databases that are asked, in turn, when the URL names none.
pub(crate) const MAINTENANCE_DATABASES: [&str; 2] = ["postgres", "template1"];
/// How often a database is opened anew because a table vanished between listing and locking.
const OPEN_ATTEMPTS: usize = 5;
/// Tables that are locked in one statement.
const LOCKS_AT_ONCE: usize = 100;

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
        let mut databases = Vec::with_capacity(names.len());
        for name in names {
            databases.push(OpenedDatabase::open(&self.settings, name, &stop)?);
        }
        let version = databases
            .first()
            .map(|database| database.session.version().to_owned())
            .ok_or_else(|| {
                let act = format!("no database to save at {}", self.settings.server());
                SourceError::new(SourceErrorKind::Missing, act)
            })?;
        let major = major_of(&version);
        let pg_dump = PgDump::find(&self.settings, major)?;
        if pg_dump.major > major {
            warnings.push(format!(
                "the schema was read by pg_dump {} from a server of version {version}; it may not load into a \
                 server as old as that one",
                pg_dump.version
            ));
        }
        databases.sort_by_key(|database| keepstone_engine::path::percent_encode(&database.name));
        // pg_dump starts at once: it needs locks of its own, and would wait behind whoever comes to wait for ours.
        let databases = databases
            .into_iter()
            .map(|database| {
                let schema = Schema::start(&self.settings, &pg_dump, &database, &stop);
                (database, schema)
            })
            .collect();
        let settings = &self.settings;
        Ok(Box::new(PostgresOpened {
            settings,
            databases,
            pg_dump,
            version,
            warnings,
            stop,
        }))
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
    let marker = literal(&format!("{}=%", super::facts::MARKER));
    let kept = format!("__{}_", super::names::BEFORE);
    let mut session = maintenance(settings, stop)?;
    // A database that a restore has not switched in yet is marked and carries its id in its name.
    let rows = session
        .query(&format!(
            "SELECT d.datname, d.datallowconn, EXISTS (SELECT FROM pg_db_role_setting s,
                unnest(s.setconfig) c WHERE s.setdatabase = d.oid AND s.setrole = 0 AND c LIKE {marker}
                AND d.datname LIKE '%\\_\\_{}\\_' || split_part(c, '=', 2))
             FROM pg_database d WHERE NOT d.datistemplate ORDER BY 1",
            super::names::STAGED
        ))
        .map_err(|error| error.during(format!("cannot list the databases at {}", settings.server())))?;
    let mut names = Vec::new();
    for row in rows {
        let name = row.text(0);
        if row.flag(2) || (!row.flag(1) && name.contains(&kept)) {
            continue;
        }
        if row.flag(1) {
            names.push(name);
        } else {
            warnings.push(format!(
                "database {name} was left out: it accepts no connections"
            ));
        }
    }
    Ok(names)
}

/// One database at its instant.
pub(crate) struct OpenedDatabase {
    /// Name.
    pub(crate) name: String,
    /// The session that holds the snapshot and the locks.
    pub(crate) session: Session,
    /// Name under which other sessions join the snapshot.
    pub(crate) snapshot: String,
    /// What is there.
    pub(crate) contents: Contents,
}

impl OpenedDatabase {
    /// Takes the snapshot and the locks.
    pub(crate) fn open(
        settings: &PostgresSettings,
        name: String,
        stop: &Stop,
    ) -> Result<Self, SourceError> {
        let act = format!("cannot open database {name} at {}", settings.server());
        let mut session = Session::connect(settings, &name, stop.clone())?;
        for _ in 1..OPEN_ATTEMPTS {
            match Self::pin(&mut session) {
                // A table was dropped between listing and locking: look again.
                Err(error) if error.code() == "42P01" || error.code() == "3F000" => {
                    session
                        .execute("ROLLBACK")
                        .map_err(|error| error.during(act.as_str()))?;
                }
                pinned => return Self::with(name, session, pinned, act),
            }
        }
        let pinned = Self::pin(&mut session);
        Self::with(name, session, pinned, act)
    }

    fn with(
        name: String,
        session: Session,
        pinned: Result<(String, Contents), PgError>,
        act: String,
    ) -> Result<Self, SourceError> {
        let (snapshot, mut contents) = pinned.map_err(|error| error.during(act))?;
        let mut paths = contents
            .tables
            .drain(..)
            .map(|table| Ok((table.path(&name)?, table)))
            .collect::<Result<Vec<(RepoPath, _)>, SourceError>>()?;
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        contents.tables = paths.into_iter().map(|(_, table)| table).collect();
        Ok(Self {
            name,
            session,
            snapshot,
            contents,
        })
    }

    fn pin(session: &mut Session) -> Result<(String, Contents), PgError> {
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let rows = session.query("SELECT pg_export_snapshot()")?;
        let snapshot = rows.first().map(|row| row.text(0)).unwrap_or_default();
        session.execute(PLAIN_SCANS)?;
        let contents = catalog::contents(session)?;
        for tables in contents.tables.chunks(LOCKS_AT_ONCE) {
            let names: Vec<_> = tables
                .iter()
                .map(|table| format!("ONLY {}", table.sql()))
                .collect();
            session.execute(&format!(
                "LOCK TABLE {} IN ACCESS SHARE MODE",
                names.join(", ")
            ))?;
        }
        Ok((snapshot, contents))
    }
}

struct PostgresOpened<'a> {
    settings: &'a PostgresSettings,
    databases: Vec<(OpenedDatabase, Schema)>,
    pg_dump: PgDump,
    version: String,
    warnings: Vec<String>,
    stop: Stop,
}

impl Opened for PostgresOpened<'_> {
    fn facts(&self) -> OpenFacts {
        let names: Vec<_> = self
            .databases
            .iter()
            .map(|(database, _)| &database.name)
            .collect();
        let mut attributes = keepstone_engine::source::Attributes::new();
        attributes.insert("databases".into(), json!(names));
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
        // Streams are emitted in the order of their names; `@roles` may lie between two databases.
        let mut roles_done = false;
        for (database, schema) in &mut self.databases {
            if !roles_done && keepstone_engine::path::percent_encode(&database.name).as_str() > "@"
            {
                emit_roles(database, sink, &mut report)?;
                roles_done = true;
            }
            emit::database(
                self.settings,
                database,
                schema,
                &self.stop,
                sink,
                &mut report,
            )?;
        }
        if let Some((database, _)) = self.databases.last_mut().filter(|_| !roles_done) {
            emit_roles(database, sink, &mut report)?;
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

/// Both halves of a schema, while pg_dump reads them.
pub(crate) struct Schema {
    /// What rows need.
    pub(crate) pre: Option<JoinHandle<Result<Vec<u8>, SourceError>>>,
    /// What comes after the rows.
    pub(crate) post: Option<JoinHandle<Result<Vec<u8>, SourceError>>>,
}

impl Schema {
    fn start(
        settings: &PostgresSettings,
        pg_dump: &PgDump,
        database: &OpenedDatabase,
        stop: &Stop,
    ) -> Self {
        let start = |section| {
            let (settings, pg_dump, stop) = (settings.clone(), pg_dump.clone(), stop.clone());
            let (name, snapshot) = (database.name.clone(), database.snapshot.clone());
            Some(thread::spawn(move || {
                pg_dump.schema(&settings, &name, Some(&snapshot), section, &stop)
            }))
        };
        Self {
            pre: start(Section::Pre),
            post: start(Section::Post),
        }
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
