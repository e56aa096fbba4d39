//! The SQLite source: images taken under writers, and restores that are all old or all new at every step.
//!
//! Whoever else uses the database is another process: SQLite's locks belong to processes.

mod capture;
mod in_place;
mod kill;
mod log;
mod odd;
mod processes;
mod report;
mod restore;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keepstone_engine::source::SourceError;
use keepstone_sources::sqlite::{SqliteSettings, SqliteSource};
use keepstone_testkit::memory::MemoryCapture;
use rusqlite::Connection;
use tempfile::TempDir;

/// Both ways in which SQLite makes a transaction atomic.
const JOURNAL_MODES: [&str; 2] = ["wal", "delete"];

fn settings(path: &Path) -> SqliteSettings {
    SqliteSettings::new(path).unwrap()
}

fn source(path: &Path) -> SqliteSource {
    SqliteSource::new(settings(path))
}

fn capture(path: &Path) -> Result<MemoryCapture, SourceError> {
    MemoryCapture::of(&source(path))
}

/// A folder with a path in it for a database.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    // The kernel's name for it, which errors and addresses show.
    let path = folder.path().canonicalize().unwrap().join("app.db");
    (folder, path)
}

/// A closed database with rows that all say `generation`.
fn make_database(path: &Path, journal_mode: &str, generation: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "journal_mode", journal_mode)
        .unwrap();
    connection
        .execute_batch("CREATE TABLE rows(id INTEGER PRIMARY KEY, generation TEXT, filler BLOB)")
        .unwrap();
    connection
        .execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
             INSERT INTO rows SELECT i, ?1, zeroblob(i * 7 % 900) FROM n",
            [generation],
        )
        .unwrap();
    connection.close().unwrap();
}

/// The one generation that all rows of a database say; the database is sound.
fn generation_of(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    assert_eq!(integrity(&connection), "ok");
    let (least, most, count): (String, String, i64) = connection
        .query_row(
            "SELECT min(generation), max(generation), count(*) FROM rows",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((&least, count), (&most, 300));
    least
}

fn integrity(connection: &Connection) -> String {
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

/// Writes the one stream of a capture into a file of its own.
fn write_out(capture: &MemoryCapture, path: &Path) {
    fs::write(path, capture.content("app.db")).unwrap();
}

/// What the stock program prints for a database, without the journal mode playing a part.
fn stock(path: &Path, command: &str) -> String {
    let output = Command::new("sqlite3")
        .arg("-batch")
        .arg(path)
        .arg(command)
        .output()
        .expect("install the Debian package sqlite3");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "sqlite3 {command}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every file of a folder by name, with its content.
fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    files_in(folder).into_keys().collect()
}

fn copy_folder(from: &Path, to: &Path) {
    for name in names_in(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

const MOMENT: Duration = Duration::from_millis(200);
