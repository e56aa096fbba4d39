//! Logs that were not left as SQLite would like to find them: stale, reaching over the page of the locks, or beside another
//! database than their own.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use keepstone_engine::path::RepoPath;
use keepstone_engine::restore::export_to_folder;
use keepstone_engine::source::{
    Attributes, Meta, NodeKind, Sink, Source as _, SourceError, StreamFacts, StreamSpec,
};
use keepstone_sources::sqlite::SqliteExport;
use rusqlite::Connection;

use super::processes::Helper;
use super::restore::captured;
use super::{generation_of, make_database, names_in, place, source};

const PAGE: u64 = 4096;
/// Where the page lies that stands for locks, and that SQLite never writes.
const LOCK_PAGE_AT: u64 = 0x4000_0000;

#[test]
fn a_stale_index_of_a_log_is_not_believed_by_who_cannot_make_it_anew() {
    let (_origin, written) = place();
    make_database(&written, "wal", "old");
    let (folder, path) = place();
    let connection = Connection::open(&written).unwrap();
    let update = |generation: &str| {
        connection
            .execute("UPDATE rows SET generation = ?1", [generation])
            .unwrap();
    };
    let copy = |suffix: &str| {
        let name = format!("app.db{suffix}");
        fs::copy(written.with_file_name(&name), path.with_file_name(&name)).unwrap();
    };
    update("first");
    copy("-shm");
    update("second");
    copy("");
    copy("-wal");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for suffix in ["", "-wal", "-shm"] {
        mode(&path.with_file_name(format!("app.db{suffix}")), 0o444);
    }
    mode(folder.path(), 0o555);
    let said = Helper::start_as_nobody("capturer", &path).finish();
    assert!(
        said.contains("Denied: ") && said.contains("-shm") && said.contains("owner"),
        "{said}"
    );
    if rustix::process::geteuid().is_root() {
        // Somebody who may keeps it right.
        let holder = Helper::start("holder", &path);
        Helper::start_as_nobody("capturer", &path).expect("rows 300");
        holder.finish();
    }
    mode(folder.path(), 0o755);
}

/// Writes a stream into a file, without its zeros.
struct Sparse(fs::File);

impl Sink for Sparse {
    fn entry(
        &mut self,
        path: &RepoPath,
        _kind: NodeKind,
        _meta: Meta,
        _attributes: Attributes,
    ) -> Result<(), SourceError> {
        panic!("an entry {path}");
    }

    fn reuse(&mut self, _path: &RepoPath, _meta: &Meta) -> Result<bool, SourceError> {
        Ok(false)
    }

    fn begin(&mut self, _spec: StreamSpec) -> Result<(), SourceError> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
        if bytes == &ZEROS[..bytes.len()] {
            self.0.seek(SeekFrom::Current(bytes.len() as i64)).unwrap();
        } else {
            self.0.write_all(bytes).unwrap();
        }
        Ok(())
    }

    fn record(&mut self, _key: &[u8], _bytes: &[u8]) -> Result<(), SourceError> {
        panic!("a record");
    }

    fn finish(&mut self, _facts: StreamFacts) -> Result<(), SourceError> {
        let end = self.0.stream_position().unwrap();
        self.0.set_len(end).unwrap();
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), SourceError> {
        panic!("abandoned");
    }

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_database_whose_log_alone_reaches_over_the_page_of_the_locks_is_saved() {
    let (_folder, path) = place();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL; CREATE TABLE t(b)"
        ))
        .unwrap();
    connection.close().unwrap();
    // As if it had grown to just below that page: the pages in between belong to nobody.
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let pages = u32::try_from(LOCK_PAGE_AT / PAGE - 2).unwrap();
    file.write_all_at(&pages.to_be_bytes(), 28).unwrap();
    let mut counter = [0; 4];
    file.read_exact_at(&mut counter, 24).unwrap();
    file.write_all_at(&counter, 92).unwrap();
    file.set_len(u64::from(pages) * PAGE).unwrap();
    drop(file);
    let connection = Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "wal_autocheckpoint", 0)
        .unwrap();
    connection
        .execute("INSERT INTO t VALUES (zeroblob(40000))", [])
        .unwrap();
    assert!(fs::metadata(&path).unwrap().len() < LOCK_PAGE_AT);

    let (_other, image) = place();
    let source = source(&path);
    let mut opened = source.open().unwrap();
    let mut sink = Sparse(fs::File::create_new(&image).unwrap());
    opened.stream(&mut sink).unwrap();
    opened.close().unwrap();
    assert!(sink.0.metadata().unwrap().len() > LOCK_PAGE_AT + PAGE);
    let read = Connection::open(&image).unwrap();
    let length: i64 = read
        .query_row("SELECT sum(length(b)) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(length, 40_000);
}

#[test]
fn an_export_never_meets_the_log_of_the_file_it_replaces() {
    let new = captured("wal");
    let target = tempfile::tempdir().unwrap();
    let export = || export_to_folder("db", &new.capture, &SqliteExport::new(), target.path());
    export().unwrap();
    let folder = target.path().join("db");
    let exported = folder.join("app.db");
    Helper::start("committed", &exported).kill();
    assert_eq!(names_in(&folder), ["app.db", "app.db-shm", "app.db-wal"]);
    // A link goes, and not what it leads to.
    let elsewhere = target.path().join("elsewhere");
    fs::write(&elsewhere, "stays").unwrap();
    symlink(&elsewhere, folder.join("app.db-journal")).unwrap();
    export().unwrap();
    assert_eq!(names_in(&folder), ["app.db"]);
    assert_eq!(generation_of(&exported), "new");
    assert_eq!(fs::read(&elsewhere).unwrap(), b"stays");
}
