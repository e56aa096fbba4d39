//! A database file as one stream, with its tables counted and digested in the same instant.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, CollectionFacts, Consistency, Meta, OpenFacts, Opened, Profile, Sink, Source,
    SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};
use serde_json::json;

use super::client::{self, Client, TableRead};
use super::image::Pinned;
use super::{KIND, SqliteSettings, facts, io_failure};

/// A SQLite database to protect.
#[derive(Debug)]
pub struct SqliteSource {
    settings: SqliteSettings,
}

impl SqliteSource {
    /// A source with these settings. The database is opened when the source is.
    pub fn new(settings: SqliteSettings) -> Self {
        Self { settings }
    }
}

impl Source for SqliteSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn consistency(&self) -> Consistency {
        Consistency::PointInTime
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        let given = &self.settings.path;
        let path = given
            .canonicalize()
            .map_err(|e| io_failure("cannot find", given, e))?;
        let meta = fs::metadata(&path).map_err(|e| io_failure("cannot find", &path, e))?;
        if !meta.is_file() {
            return Err(SourceError::new(
                SourceErrorKind::Settings,
                format!("{} is not a file", path.display()),
            ));
        }
        let name = given
            .file_name()
            .and_then(|name| RepoPath::root().join(name.as_encoded_bytes()).ok())
            .ok_or_else(|| {
                io_failure(
                    "cannot name",
                    given,
                    std::io::ErrorKind::InvalidInput.into(),
                )
            })?;
        let pinned = Pinned::new(&path, &self.settings)?;
        let opened = facts_of(&pinned, meta.permissions().mode());
        Ok(Box::new(OpenedDatabase {
            settings: &self.settings,
            name,
            facts: opened?,
            pinned: Some(pinned),
        }))
    }
}

fn facts_of(pinned: &Pinned, mode: u32) -> Result<OpenFacts, SourceError> {
    let schema = pinned.client.schema_digest()?;
    let mut opened = OpenFacts {
        version: Some(client::library_version().to_owned()),
        ..OpenFacts::default()
    };
    let mut set = |name: &str, value| opened.attributes.insert(name.to_owned(), value);
    set(facts::SCHEMA_DIGEST, json!(schema.finish()));
    set("schema_objects", json!(schema.count()));
    set(facts::FILE_MODE, json!(mode & 0o777));
    if let Some(header) = &pinned.image.header {
        set("page_size", json!(header.page_size));
        let pages = pinned.image.size_bytes / u64::from(header.page_size);
        set("page_count", json!(pages));
        let journal = if header.wal { "wal" } else { "rollback" };
        set("journal_mode", json!(journal));
        set("encoding", json!(header.encoding));
        set("user_version", json!(header.user_version));
        set("application_id", json!(header.application_id));
        set("written_by", json!(header.written_by));
    }
    Ok(opened)
}

struct OpenedDatabase<'a> {
    settings: &'a SqliteSettings,
    name: RepoPath,
    facts: OpenFacts,
    /// Gone only if a panic in the digesting thread took it along.
    pinned: Option<Pinned>,
}

impl Opened for OpenedDatabase<'_> {
    fn facts(&self) -> OpenFacts {
        self.facts.clone()
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        let Some(mut pinned) = self.pinned.take() else {
            return Err(SourceError::new(
                SourceErrorKind::Other,
                format!("{} was closed before", self.settings.path.display()),
            ));
        };
        sink.begin(StreamSpec {
            path: self.name.clone(),
            profile: Profile::Bytes,
            meta: Meta::default(),
            size_hint_bytes: Some(pinned.image.size_bytes),
        })?;
        let digests = self.settings.digest_rows;
        let (image, sink_cell) = (&pinned.image, std::cell::RefCell::new(&mut *sink));
        let (client, worked) = pinned.client.work_beside(
            |client| read_tables(client, digests),
            || {
                image.copy_to(&mut |block| {
                    let mut sink = sink_cell.borrow_mut();
                    if sink.cancelled() {
                        return Err(stopped());
                    }
                    sink.write(block)
                })
            },
            &|| sink_cell.borrow().cancelled(),
        );
        pinned.client = client;
        let mut warnings = pinned.warnings.clone();
        self.pinned = Some(pinned);
        let ((), tables) = worked?;
        sink.finish(StreamFacts::default())?;
        warnings.extend(tables.warnings);
        Ok(CaptureReport {
            collections: tables.collections,
            warnings,
            ..CaptureReport::default()
        })
    }

    fn close(mut self: Box<Self>) -> Result<(), SourceError> {
        self.pinned.take().map_or(Ok(()), Pinned::release)
    }
}

/// All tables of a database, and what could not be read of them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) collections: Vec<CollectionFacts>,
    pub(super) warnings: Vec<String>,
}

/// Counts and digests every table.
pub(super) fn read_tables(client: &Client, digests: bool) -> Result<Tables, SourceError> {
    let mut tables = Tables::default();
    for name in client.tables()? {
        match client.read_table(&name, digests)? {
            TableRead::Read(found) => tables.collections.push(found),
            TableRead::Unreadable(problem) => tables.warnings.push(format!(
                "table {name} is saved, but its rows could not be counted: {problem}"
            )),
        }
    }
    Ok(tables)
}

fn stopped() -> SourceError {
    SourceError::new(
        SourceErrorKind::Cancelled,
        "the capture was stopped on request",
    )
}
