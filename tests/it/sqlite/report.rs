//! What a capture says of itself: its facts, and the counts and digests of its tables.

use std::fs;

use keepstone_engine::source::{Consistency, Profile, Source as _};
use keepstone_sources::sqlite::SqliteSource;
use keepstone_testkit::memory::MemoryCapture;

use super::capture::assert_valid;
use super::{capture, make_database, place, settings, source, stock};

#[test]
fn what_a_capture_says_of_itself() {
    let (_folder, path) = place();
    make_database(&path, "wal", "old");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let source = source(&path);
    assert_eq!(source.kind(), "sqlite");
    assert_eq!(source.address(), format!("sqlite:{}", path.display()));
    assert_eq!(source.consistency(), Consistency::PointInTime);
    let captured = MemoryCapture::of(&source).unwrap();
    let facts = &captured.open_facts.attributes;
    assert_eq!(facts["journal_mode"], "wal");
    assert_eq!(facts["file_mode"], 0o640);
    assert_eq!(facts["schema_objects"], 1);
    assert_eq!(
        captured.open_facts.version.as_deref(),
        Some(rusqlite::version())
    );
    let (info, _) = captured.items.values().next().unwrap();
    assert_eq!(info.profile, Profile::Bytes);
    let table = &captured.report.collections[0];
    assert_eq!((table.name.as_str(), table.records), ("rows", 300));
    assert!(table.digest.is_some() && table.bytes > 300 * 10);
}

#[test]
fn digests_depend_on_rows_and_not_on_pages() {
    let (_folder, path) = place();
    make_database(&path, "delete", "old");
    let before = capture(&path).unwrap();
    stock(&path, "DELETE FROM rows WHERE id = 7; VACUUM;");
    let without = capture(&path).unwrap();
    stock(
        &path,
        "PRAGMA page_size = 8192; VACUUM; INSERT INTO rows VALUES (7, 'old', zeroblob(49))",
    );
    let again = capture(&path).unwrap();
    assert!(before.content("app.db") != again.content("app.db"));
    assert_ne!(before.report, without.report);
    assert_eq!(before.report, again.report);
}

#[test]
fn rows_are_only_counted_when_digests_are_off() {
    let (_folder, path) = place();
    make_database(&path, "wal", "old");
    let mut settings = settings(&path);
    settings.digest_rows = false;
    let captured = MemoryCapture::of(&SqliteSource::new(settings)).unwrap();
    assert_eq!(captured.report.collections[0].records, 300);
    assert_eq!(captured.report.collections[0].digest, None);
    assert_valid(&captured);
}

#[test]
fn a_table_that_needs_the_application_is_saved_but_not_counted() {
    let (_folder, path) = place();
    // The stock program brings a collation along that the library lacks.
    stock(
        &path,
        "CREATE TABLE prices(p TEXT COLLATE decimal PRIMARY KEY) WITHOUT ROWID;
         INSERT INTO prices VALUES ('1.5'), ('12');
         CREATE TABLE plain(a); INSERT INTO plain VALUES (1);",
    );
    let captured = capture(&path).unwrap();
    let names: Vec<_> = captured
        .report
        .collections
        .iter()
        .map(|t| &t.name)
        .collect();
    assert_eq!(names, ["plain"]);
    assert_eq!(captured.report.warnings.len(), 1);
    assert!(
        captured.report.warnings[0].contains("prices"),
        "{:?}",
        captured.report
    );
    assert_valid(&captured);
}
