//! Single tables between databases, in one transaction of SQLite.
//!
//! A table goes with its rows, the rowids that nothing else names, its place in `sqlite_sequence`, its indexes and its
//! triggers. Views, and foreign keys of others, find it by its name. The transaction writes one file only, so that it is
//! atomic in every journal mode; a marking table tells in it whether it was committed.
//!
//! Names are compared as SQLite does, without regard to case: `CREATE TRIGGER … ON NOTES` belongs to the table `notes`.

use std::path::Path;
use std::time::Duration;

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::whole::open_writing;
use super::{Client, TableRead, failure, quoted, uri_of};

/// Name of the other database beside `main`.
const OTHER: &str = "other";

/// A connection that writes one database and reads another.
#[derive(Debug)]
pub(in super::super) struct TableWriter {
    client: Client,
}

impl TableWriter {
    /// Opens the database that is written.
    pub(in super::super) fn open(path: &Path, busy: Duration) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let open = || {
            let connection = open_writing(path, busy)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
            connection.execute_batch("PRAGMA foreign_keys = 0; PRAGMA synchronous = FULL;")?;
            Ok(connection)
        };
        let connection = open().map_err(|e| failure(&format!("cannot open {name}"), e))?;
        Ok(Self {
            client: Client { connection, name },
        })
    }

    /// Whether the mark is there: a transaction that set it was committed.
    pub(in super::super) fn is_marked(&self, mark: &str) -> Result<bool, SourceError> {
        has_table(&self.client.connection, "main", mark).map_err(|e| self.client.cannot("read", e))
    }

    /// Removes the mark.
    pub(in super::super) fn unmark(&self, mark: &str) -> Result<(), SourceError> {
        let sql = format!("DROP TABLE IF EXISTS main.{}", quoted(mark));
        self.run(&sql, "write")
    }

    /// Sets the mark, in the transaction that has begun.
    pub(in super::super) fn mark(&self, mark: &str) -> Result<(), SourceError> {
        self.run(
            &format!("CREATE TABLE main.{}(restored)", quoted(mark)),
            "write",
        )
    }

    /// Takes the encoding of another database; only one without content can. `immutable`: nobody writes to the other.
    pub(in super::super) fn encode_like(
        &self,
        other: &Path,
        immutable: bool,
    ) -> Result<(), SourceError> {
        let copy = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let other = Connection::open_with_flags(uri_for_reading(other, immutable), flags)?;
            let encoding: String = other.query_row("PRAGMA encoding", [], |row| row.get(0))?;
            self.client
                .connection
                .pragma_update(None, "encoding", encoding)
        };
        copy().map_err(|e| self.client.cannot("prepare", e))
    }

    /// Takes a second database to read from. `immutable`: nobody writes to it.
    pub(in super::super) fn attach(
        &self,
        other: &Path,
        immutable: bool,
    ) -> Result<(), SourceError> {
        let uri = uri_for_reading(other, immutable);
        self.client
            .connection
            .execute(&format!("ATTACH ?1 AS {OTHER}"), [uri])
            .map(drop)
            .map_err(|e| failure(&format!("cannot open {}", other.display()), e))
    }

    /// Begins the transaction: from here on nobody else writes.
    pub(in super::super) fn begin(&self) -> Result<(), SourceError> {
        self.run("BEGIN IMMEDIATE", "write")
    }

    /// Ends the transaction. Without it nothing has happened.
    pub(in super::super) fn commit(self) -> Result<(), SourceError> {
        self.run("COMMIT", "write")?;
        self.client.close()
    }

    /// Puts a table of the other database in the place of ours, or removes ours where the other has none. What belongs to
    /// it is the same in both then, or it fails.
    pub(in super::super) fn take_table(&self, table: &str) -> Result<(), SourceError> {
        let connection = &self.client.connection;
        let cannot = |e| self.client.cannot(&format!("write table {table} of"), e);
        let take = || {
            connection.execute_batch(&format!("DROP TABLE IF EXISTS main.{}", quoted(table)))?;
            if !has_table(connection, OTHER, table)? {
                return Ok(());
            }
            for sql in definitions(connection, table, "type = 'table'")? {
                connection.execute(&sql, [])?;
            }
            copy_rows(connection, table)?;
            copy_sequence(connection, table)?;
            for sql in definitions(connection, table, "type IN ('index', 'trigger')")? {
                connection.execute(&sql, [])?;
            }
            Ok(())
        };
        take().map_err(cannot)?;
        let ours = belongings(connection, "main", table).map_err(cannot)?;
        if ours == belongings(connection, OTHER, table).map_err(cannot)? {
            return Ok(());
        }
        let found = ours.join(", ");
        Err(self.differs(table, &format!("lost what belongs to it, except {found}")))
    }

    /// Compares what was copied aside of a table with ours: a copy without the table must not be taken for one of
    /// nothing.
    pub(in super::super) fn check_kept(&self, kept: &Path, table: &str) -> Result<(), SourceError> {
        let kept = Client::open_immutable(kept)?;
        match (
            self.client.read_table(table, false)?,
            kept.read_table(table, false)?,
        ) {
            (TableRead::Read(ours), TableRead::Read(theirs)) if ours == theirs => Ok(()),
            // Neither has it.
            (TableRead::Unreadable(_), TableRead::Unreadable(_)) => Ok(()),
            _ => Err(self.differs(table, "could not be kept whole")),
        }
    }

    /// Compares our table with that of a database that nobody writes to.
    pub(in super::super) fn check_table(
        &self,
        other: &Path,
        table: &str,
    ) -> Result<(), SourceError> {
        let other = Client::open_immutable(other)?;
        match (
            self.client.read_table(table, true)?,
            other.read_table(table, true)?,
        ) {
            (TableRead::Read(ours), TableRead::Read(theirs)) if ours == theirs => Ok(()),
            _ => Err(self.differs(table, "differs from what was captured")),
        }
    }

    fn differs(&self, table: &str, how: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Validation,
            format!("table {table} of {} {how}", self.client.name),
        )
    }

    fn run(&self, sql: &str, act: &str) -> Result<(), SourceError> {
        self.client
            .connection
            .execute_batch(sql)
            .map_err(|e| self.client.cannot(act, e))
    }
}

/// Never writable: a transaction locks every database that it might write to.
fn uri_for_reading(path: &Path, immutable: bool) -> String {
    let query = if immutable { "immutable=1" } else { "mode=ro" };
    uri_of(path, query)
}

fn has_table(connection: &Connection, schema: &str, table: &str) -> rusqlite::Result<bool> {
    let query = format!(
        "SELECT 1 FROM {schema}.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
    );
    let found = connection
        .query_row(&query, [table], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// The statements that make a table of the other database, or what belongs to it. Made without a schema's name, so
/// that they make it in `main`.
fn definitions(connection: &Connection, table: &str, which: &str) -> rusqlite::Result<Vec<String>> {
    // Indexes come before triggers; those without a text belong to constraints.
    let query = format!(
        "SELECT sql FROM {OTHER}.sqlite_schema
         WHERE tbl_name = ?1 COLLATE NOCASE AND {which} AND sql IS NOT NULL ORDER BY type, name"
    );
    let mut statement = connection.prepare(&query)?;
    let found = statement.query_map([table], |row| row.get(0))?;
    found.collect()
}

/// A table and what belongs to it, by kind and name; not the indexes of constraints, which come with the table.
fn belongings(connection: &Connection, schema: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    let query = format!(
        "SELECT type || ' ' || name FROM {schema}.sqlite_schema
         WHERE tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL ORDER BY 1"
    );
    let mut statement = connection.prepare(&query)?;
    let found = statement.query_map([table], |row| row.get(0))?;
    found.collect()
}

fn copy_rows(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!(
        "SELECT name, pk, upper(type) FROM {OTHER}.pragma_table_xinfo(?1, '{OTHER}')
         WHERE hidden = 0 ORDER BY cid"
    ))?;
    let columns: Vec<(String, i64, String)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let has_no_rowid: bool = connection.query_row(
        "SELECT wr FROM pragma_table_list WHERE schema = ?1 AND name = ?2 COLLATE NOCASE",
        [OTHER, table],
        |row| row.get(0),
    )?;
    let keys: Vec<_> = columns.iter().filter(|(_, pk, _)| *pk > 0).collect();
    let is_named = matches!(keys.as_slice(), [(_, _, kind)] if kind == "INTEGER");
    let is_free = |name: &&str| {
        columns
            .iter()
            .all(|(column, ..)| !column.eq_ignore_ascii_case(name))
    };
    let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(is_free);
    let rowid = rowid.filter(|_| !has_no_rowid && !is_named);
    let names: Vec<_> = rowid
        .map(ToOwned::to_owned)
        .into_iter()
        .chain(columns.iter().map(|(name, ..)| quoted(name)))
        .collect();
    let (table, names) = (quoted(table), names.join(", "));
    connection.execute_batch(&format!(
        "INSERT INTO main.{table} ({names}) SELECT {names} FROM {OTHER}.{table}"
    ))
}

/// The highest number that AUTOINCREMENT has given.
fn copy_sequence(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    const SEQUENCE: &str = "sqlite_sequence";
    if !has_table(connection, "main", SEQUENCE)? || !has_table(connection, OTHER, SEQUENCE)? {
        return Ok(());
    }
    let which = "WHERE name = ?1 COLLATE NOCASE";
    let delete = format!("DELETE FROM main.sqlite_sequence {which}");
    connection.execute(&delete, [table])?;
    let copy =
        format!("INSERT INTO main.sqlite_sequence SELECT * FROM {OTHER}.sqlite_sequence {which}");
    connection.execute(&copy, [table]).map(drop)
}
