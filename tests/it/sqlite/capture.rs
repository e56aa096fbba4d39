//! Captures: one instant, whatever runs beside.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use keepstone_engine::source::{
    Export as _, ExportSink, Source as _, SourceError, SourceErrorKind, Target as _,
};
use keepstone_sources::sqlite::{SqliteExport, SqliteSource, SqliteTarget, SqliteTargetOptions};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use rusqlite::Connection;

use super::processes::Helper;
use super::{
    JOURNAL_MODES, MOMENT, capture, files_in, generation_of, integrity, make_database, names_in,
    place, settings, source, stock, write_out,
};

/// The error of a capture that must fail, without printing pages if it does not.
fn failure(result: Result<MemoryCapture, SourceError>) -> SourceError {
    result.map(|_| "a capture").unwrap_err()
}

/// Restores a capture beside and lets it be compared with what it recorded of itself.
pub(super) fn assert_valid(captured: &MemoryCapture) {
    let (_folder, path) = place();
    let target = SqliteTarget::new(&path, SqliteTargetOptions::default());
    let plan = target.plan(captured).unwrap();
    target.stage(&plan, captured).unwrap();
    let validation = target.validate(&plan, captured).unwrap();
    assert_eq!(validation.differences, [""; 0]);
}

/// Makes the modification time of a database old, so that it counts as resting.
fn let_rest(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
}

#[test]
fn every_capture_under_writers_is_one_instant() {
    for mode in JOURNAL_MODES {
        let (_folder, path) = place();
        let connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "journal_mode", mode)
            .unwrap();
        connection
            .execute_batch(
                "CREATE TABLE accounts(id INTEGER PRIMARY KEY, amount INTEGER);
                 CREATE TABLE deposits(id INTEGER PRIMARY KEY, amount INTEGER);
                 CREATE TABLE filler(id INTEGER PRIMARY KEY, data BLOB);
                 CREATE INDEX by_amount ON accounts(amount);
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199)
                 INSERT INTO accounts SELECT i, 1000 FROM n;
                 INSERT INTO deposits SELECT id, 0 FROM accounts;",
            )
            .unwrap();
        connection.close().unwrap();
        let _writers = [Helper::start("bank", &path), Helper::start("bank", &path)];
        let mut contents = Vec::new();
        for _ in 0..12 {
            let captured = capture(&path).unwrap();
            assert_eq!(captured.paths(), ["app.db"]);
            let (_other, image) = place();
            write_out(&captured, &image);
            let read = Connection::open(&image).unwrap();
            assert_eq!(integrity(&read), "ok", "{mode}");
            let total: i64 = read
                .query_row(
                    "SELECT (SELECT sum(amount) FROM accounts) + (SELECT sum(amount) FROM deposits)",
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(total, 200_000, "{mode}");
            // The counts and digests are of the same instant as the image.
            assert_valid(&captured);
            contents.push(captured.content("app.db").to_vec());
        }
        contents.dedup();
        assert!(contents.len() > 1, "the writers stood still");
    }
}

#[test]
fn the_instant_is_that_of_opening() {
    for mode in JOURNAL_MODES {
        let (_folder, path) = place();
        make_database(&path, mode, "first");
        let mut writer = Helper::start("grower", &path);
        let source = source(&path);
        let mut opened = source.open().unwrap();
        writer.go_on();
        writer.expect("written");
        // Whoever reads the same files in this process takes SQLite's own locks away.
        for name in names_in(path.parent().unwrap()) {
            fs::read(path.parent().unwrap().join(name)).unwrap();
        }
        writer.go_on();
        writer.expect("written");
        let mut sink = MemorySink::new(None);
        let report = opened.stream(&mut sink).unwrap();
        let captured = MemoryCapture {
            open_facts: opened.facts(),
            report,
            items: sink.items,
        };
        opened.close().unwrap();
        let (_other, image) = place();
        write_out(&captured, &image);
        assert_eq!(generation_of(&image), "first", "{mode}");
        assert_valid(&captured);
        assert_eq!(captured.report.collections[0].records, 300);
    }
}

#[test]
fn equal_content_gives_equal_bytes_and_a_checkpoint_changes_nothing() {
    for mode in JOURNAL_MODES {
        let (_folder, path) = place();
        make_database(&path, mode, "old");
        let first = capture(&path).unwrap();
        assert!(first == capture(&path).unwrap(), "{mode}");
    }
    let (_folder, path) = place();
    make_database(&path, "wal", "old");
    Helper::start("committed", &path).kill();
    assert!(
        fs::metadata(path.with_file_name("app.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    let logged = capture(&path).unwrap();
    assert!(
        fs::metadata(path.with_file_name("app.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    Connection::open(&path).unwrap().close().unwrap_or_default();
    stock(&path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let moved = capture(&path).unwrap();
    assert!(logged == moved);
    let (_other, image) = place();
    write_out(&logged, &image);
    assert_eq!(generation_of(&image), "logged");
}

#[test]
fn the_database_and_its_folder_are_left_as_they_were() {
    let times = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        )
    };
    for (mode, role, rests) in [
        ("delete", None, false),
        ("delete", Some("holder"), false),
        ("wal", None, false),
        ("wal", None, true),
        ("wal", Some("holder"), false),
        ("wal", Some("committed"), false),
    ] {
        let (folder, path) = place();
        make_database(&path, mode, "old");
        if rests {
            let_rest(&path);
        }
        let helper = role.map(|role| Helper::start(role, &path));
        let without_index = |mut files: std::collections::BTreeMap<_, _>| {
            // Readers leave their marks in the index of the log.
            files.remove("app.db-shm");
            files
        };
        let (before, then) = (files_in(folder.path()), times(&path));
        let captured = capture(&path).unwrap();
        assert_eq!(captured.report.warnings, [""; 0]);
        assert_eq!(
            names_in(folder.path()),
            Vec::from_iter(before.keys().cloned())
        );
        assert_eq!(
            without_index(files_in(folder.path())),
            without_index(before)
        );
        assert_eq!(times(&path), then, "{mode} {role:?}");
        drop(helper);
    }
}

#[test]
fn a_resting_database_with_a_log_is_read_without_opening_it() {
    let (_folder, path) = place();
    make_database(&path, "wal", "old");
    let_rest(&path);
    let source = source(&path);
    let mut opened = source.open().unwrap();
    assert_eq!(names_in(path.parent().unwrap()), ["app.db"]);
    let mut sink = MemorySink::new(None);
    opened.stream(&mut sink).unwrap();
    opened.close().unwrap();
    assert_eq!(opened_journal(&sink), 2);
}

/// The byte of the header that says whether a log is used.
fn opened_journal(sink: &MemorySink<'_>) -> u8 {
    sink.items.values().next().unwrap().1[19]
}

#[test]
fn a_killed_writer_is_rolled_back_with_a_warning() {
    let (_folder, path) = place();
    make_database(&path, "delete", "old");
    Helper::start("torn", &path).kill();
    assert!(names_in(path.parent().unwrap()).contains(&"app.db-journal".to_owned()));
    let captured = capture(&path).unwrap();
    assert_eq!(captured.report.warnings.len(), 1);
    assert!(captured.report.warnings[0].contains("rolled back"));
    let (_other, image) = place();
    write_out(&captured, &image);
    assert_eq!(generation_of(&image), "old");
}

#[test]
fn a_transaction_under_way_is_not_seen() {
    let (_folder, path) = place();
    make_database(&path, "wal", "old");
    let _torn = Helper::start("torn", &path);
    let (_other, image) = place();
    write_out(&capture(&path).unwrap(), &image);
    assert_eq!(generation_of(&image), "old");
}

#[test]
fn a_lock_is_waited_for_and_then_named() {
    for mode in JOURNAL_MODES {
        let (_folder, path) = place();
        make_database(&path, mode, "old");
        let holder = Helper::start("exclusive", &path);
        let mut settings = settings(&path);
        settings.busy_timeout = MOMENT;
        let error = failure(MemoryCapture::of(&SqliteSource::new(settings.clone())));
        assert_eq!(
            error.kind(),
            SourceErrorKind::Unreachable,
            "{mode}: {error:?}"
        );
        assert!(error.to_string().contains("app.db"), "{error}");
        holder.kill();
        MemoryCapture::of(&SqliteSource::new(settings)).unwrap();
    }
}

#[test]
fn what_is_no_database_is_refused_by_kind() {
    let (folder, path) = place();
    let kind = |path: &Path| failure(capture(path)).kind();
    assert_eq!(kind(&path), SourceErrorKind::Missing);
    assert_eq!(kind(folder.path()), SourceErrorKind::Settings);
    fs::write(&path, "name,amount\n".repeat(1000)).unwrap();
    let error = failure(capture(&path));
    assert_eq!(error.kind(), SourceErrorKind::Corrupt);
    assert!(error.to_string().contains("encrypted"), "{error}");
    fs::write(&path, b"SQLite").unwrap();
    assert_eq!(kind(&path), SourceErrorKind::Corrupt);
}

#[test]
fn a_damaged_database_fails_the_capture() {
    for mode in JOURNAL_MODES {
        let (_folder, path) = place();
        make_database(&path, mode, "old");
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 4096]).unwrap();
        let error = failure(capture(&path));
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{mode}: {error:?}");

        let mut bad = good.clone();
        let middle = good.len() / 2 / 4096 * 4096;
        bad[middle..middle + 100].fill(0xee);
        fs::write(&path, &bad).unwrap();
        let error = failure(capture(&path));
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{mode}: {error:?}");
    }
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let (_folder, path) = place();
    fs::write(&path, b"").unwrap();
    let captured = capture(&path).unwrap();
    assert_eq!(captured.content("app.db"), b"");
    assert!(captured.report.collections.is_empty());
    assert_valid(&captured);

    stock(&path, "PRAGMA user_version = 3");
    let captured = capture(&path).unwrap();
    assert_eq!(captured.open_facts.attributes["user_version"], 3);
    assert_valid(&captured);
}

#[test]
fn a_request_to_stop_and_a_failing_engine_end_the_capture() {
    for mode in JOURNAL_MODES {
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let source = source(&path);
        for (cancel, fail_after_bytes, kind) in [
            (true, None, SourceErrorKind::Cancelled),
            (false, Some(10), SourceErrorKind::Engine),
        ] {
            let mut opened = source.open().unwrap();
            let mut sink = MemorySink::new(None);
            sink.cancel = cancel;
            sink.fail_after_bytes = fail_after_bytes;
            assert_eq!(opened.stream(&mut sink).unwrap_err().kind(), kind);
            opened.close().unwrap();
        }
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn the_copy_of_a_database_without_a_log_goes_where_it_is_told_to_and_has_no_name() {
    let (_folder, path) = place();
    make_database(&path, "delete", "old");
    let spool = tempfile::tempdir().unwrap();
    let mut settings = settings(&path);
    settings.spool_dir = Some(spool.path().to_owned());
    let source = SqliteSource::new(settings.clone());
    let opened = source.open().unwrap();
    let spooled = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .any(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            target.starts_with(spool.path()) && target.to_string_lossy().ends_with("(deleted)")
        });
    assert!(spooled);
    assert_eq!(names_in(spool.path()), [""; 0]);
    opened.close().unwrap();
    settings.spool_dir = Some(spool.path().join("missing"));
    let error = failure(MemoryCapture::of(&SqliteSource::new(settings)));
    assert_eq!(error.kind(), SourceErrorKind::Missing);
}

#[test]
fn a_user_who_may_only_read_gets_what_rests() {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    for journal_mode in JOURNAL_MODES {
        let (folder, path) = place();
        make_database(&path, journal_mode, "old");
        let_rest(&path);
        mode(&path, 0o444);
        mode(folder.path(), 0o555);
        Helper::start_as_nobody("capturer", &path).expect("rows 300");
        if journal_mode == "wal" {
            // Just written: somebody may have it open, and SQLite would have to make its files.
            mode(&path, 0o644);
            let now = fs::File::options().write(true).open(&path).unwrap();
            now.set_modified(SystemTime::now() + Duration::from_secs(3600))
                .unwrap();
            mode(&path, 0o444);
            let said = Helper::start_as_nobody("capturer", &path).finish();
            assert!(
                said.contains("Denied: ") && said.contains("write-ahead log"),
                "{said}"
            );
        }
        mode(&path, 0o000);
        let said = Helper::start_as_nobody("capturer", &path).finish();
        assert!(said.contains("Denied: cannot read"), "{said}");
        mode(folder.path(), 0o755);
    }
}

/// Everything that SQLite can hold and a careless copy could lose.
const ODDITIES: &str = r#"
    CREATE TABLE "odd ""name"" table"("a ""column""" INTEGER, b, c REAL, d TEXT, e BLOB,
        doubled AS (b * 2) STORED, named TEXT AS (d || '!'));
    INSERT INTO "odd ""name"" table"("a ""column""", b, c, d, e) VALUES
        (1, NULL, 0.1, 'ü€𝄞', x'00ff'), (9223372036854775807, -9223372036854775808, 1e308, '', x''),
        (3, 5, -0.0, 'nul' || char(0) || 'inside', zeroblob(100000)), (4, 'text', 5e-324, 'd', randomblob(70000));
    CREATE TABLE pairs(k TEXT, n INT, v, PRIMARY KEY (k, n)) WITHOUT ROWID;
    INSERT INTO pairs VALUES ('a', 1, 1.5), ('a', 2, 'x'), ('b', 1, NULL);
    CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, ref REFERENCES pairs(k));
    INSERT INTO counted(ref) VALUES ('a'), ('nobody');
    DELETE FROM counted WHERE id = 1;
    CREATE VIRTUAL TABLE notes USING fts5(title, body);
    INSERT INTO notes VALUES ('one', 'the quick brown fox'), ('two', 'jumps');
    CREATE VIEW both AS SELECT * FROM pairs JOIN counted;
    CREATE TRIGGER watch AFTER INSERT ON pairs BEGIN DELETE FROM counted; END;
    CREATE TABLE strict(a ANY) STRICT; INSERT INTO strict VALUES (1), ('1'), (1.0);
    CREATE INDEX partly ON pairs(v) WHERE v IS NOT NULL;
    ANALYZE;
"#;

#[test]
fn everything_a_database_can_hold_comes_back() {
    for setup in [
        "PRAGMA page_size = 512; PRAGMA encoding = 'UTF-16be'; PRAGMA auto_vacuum = FULL",
        "PRAGMA page_size = 65536; PRAGMA journal_mode = WAL",
        "PRAGMA journal_mode = WAL; PRAGMA application_id = 77; PRAGMA user_version = -4",
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = PERSIST",
    ] {
        let (_folder, path) = place();
        stock(&path, &format!("{setup}; {ODDITIES}"));
        let captured = capture(&path).unwrap();
        assert_valid(&captured);
        let rows = |name: &str| {
            let all = &captured.report.collections;
            let found = all.iter().find(|table| table.name == name);
            found.map(|table| table.records)
        };
        assert_eq!(rows("odd \"name\" table"), Some(4));
        assert_eq!(rows("pairs"), Some(3));
        assert_eq!(rows("counted"), Some(1));
        assert_eq!(rows("notes_content"), Some(2));
        assert_eq!(
            rows("notes"),
            None,
            "a virtual table is counted by what it stores"
        );

        // The export is a database for everybody.
        let folder = tempfile::tempdir().unwrap();
        let mut files = Folder(folder.path(), None);
        SqliteExport::new().export(&captured, &mut files).unwrap();
        drop(files);
        assert_eq!(names_in(folder.path()), ["app.db"]);
        let exported = folder.path().join("app.db");
        assert_eq!(stock(&exported, "PRAGMA integrity_check"), "ok\n");
        for question in [
            ".dump",
            "PRAGMA encoding; PRAGMA user_version; PRAGMA application_id; PRAGMA auto_vacuum",
            "SELECT rowid FROM notes WHERE notes MATCH 'fox'",
        ] {
            assert_eq!(
                stock(&exported, question),
                stock(&path, question),
                "{setup}"
            );
        }
        let facts = &captured.open_facts.attributes;
        assert_eq!(
            captured.content("app.db").len() as u64,
            facts["page_size"].as_u64().unwrap() * facts["page_count"].as_u64().unwrap()
        );
        assert_eq!(
            facts["written_by"],
            stock(&path, "SELECT sqlite_version()").trim()
        );
    }
}

struct Folder<'a>(&'a Path, Option<fs::File>);

impl ExportSink for Folder<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<&mut dyn std::io::Write> {
        let file = fs::File::create_new(self.0.join(name))?;
        Ok(self.1.insert(file))
    }
}
