//! Single tables: named as SQLite names them, with all that belongs to them, and never believed to be restored without
//! proof.

use std::fs;
use std::path::Path;

use keepstone_engine::source::{Phase, RestorePlan, SourceErrorKind, Target as _};
use keepstone_sources::sqlite::{SqliteTarget, SqliteTargetOptions};
use keepstone_testkit::memory::MemoryCapture;
use rusqlite::Connection;

use super::processes::restore_in_process;
use super::{JOURNAL_MODES, capture, copy_folder, integrity, names_in, place};

fn target(path: &Path) -> SqliteTarget {
    let options = SqliteTargetOptions {
        tables: vec!["notes".to_owned()],
        ..SqliteTargetOptions::default()
    };
    SqliteTarget::new(path, options)
}

fn whole(path: &Path) -> SqliteTarget {
    SqliteTarget::new(path, SqliteTargetOptions::default())
}

/// A closed database with a table of this name whose one row says `text`, and another table.
fn make(path: &Path, journal_mode: &str, name: &str, text: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "journal_mode", journal_mode)
        .unwrap();
    let loud = name.to_uppercase();
    connection
        .execute_batch(&format!(
            "CREATE TABLE {name}(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT UNIQUE);
             CREATE INDEX by_text ON {loud}(text);
             CREATE TABLE changes(of INTEGER);
             CREATE TRIGGER changed AFTER UPDATE ON {loud} BEGIN INSERT INTO changes VALUES (new.id); END;
             INSERT INTO {name}(id, text) VALUES (7, 'gone'), (3, '{text}');
             DELETE FROM {name} WHERE id = 7;"
        ))
        .unwrap();
    connection.close().unwrap();
}

/// Name of the table, its row, its last number, and what belongs to it; the database is sound.
fn look(path: &Path) -> [String; 4] {
    let connection = Connection::open(path).unwrap();
    assert_eq!(integrity(&connection), "ok");
    let ask = |query: &str| {
        let text = connection.query_row(query, [], |row| row.get::<_, Option<String>>(0));
        text.unwrap().unwrap_or_default()
    };
    let schema = "FROM sqlite_schema WHERE tbl_name = 'notes' COLLATE NOCASE AND sql IS NOT NULL";
    [
        ask(&format!(
            "SELECT group_concat(name) {schema} AND type = 'table'"
        )),
        ask("SELECT group_concat(text) FROM notes"),
        ask("SELECT group_concat(seq) FROM sqlite_sequence"),
        ask(&format!(
            "SELECT group_concat(name) FROM (SELECT name {schema} AND type <> 'table' ORDER BY name)"
        )),
    ]
}

fn staged(target: &SqliteTarget, captured: &MemoryCapture) -> RestorePlan {
    let plan = target.plan(captured).unwrap();
    target.stage(&plan, captured).unwrap();
    assert_eq!(
        target.validate(&plan, captured).unwrap().differences,
        [""; 0]
    );
    plan
}

#[test]
fn a_table_is_found_however_its_name_is_written() {
    for mode in JOURNAL_MODES {
        for name in ["Notes", "notes"] {
            let (_other, origin) = place();
            make(&origin, mode, "notes", "new");
            let captured = capture(&origin).unwrap();
            let (folder, path) = place();
            make(&path, mode, name, "old");
            let before = look(&path);
            assert_eq!(before, [name, "old", "7", "by_text,changed"]);
            let target = target(&path);
            let plan = staged(&target, &captured);
            target.switch(&plan).unwrap();
            assert_eq!(look(&path), ["notes", "new", "7", "by_text,changed"]);
            target.rollback(&plan, Phase::Switched).unwrap();
            assert_eq!(look(&path), before);
            target.rollback(&plan, Phase::Switched).unwrap();
            assert_eq!(look(&path), before);
            assert_eq!(names_in(folder.path()), ["app.db"]);

            let plan = staged(&target, &captured);
            target.switch(&plan).unwrap();
            target.discard(&plan).unwrap();
            assert_eq!(look(&path), ["notes", "new", "7", "by_text,changed"]);
            assert_eq!(names_in(folder.path()), ["app.db"]);
        }
    }
}

#[test]
fn tables_killed_after_any_step_are_all_old_or_all_new_and_finished_or_undone() {
    let (_other, origin) = place();
    make(&origin, "wal", "notes", "new");
    let captured = capture(&origin).unwrap();
    for act in ["switch", "rollback"] {
        for stop in 1.. {
            let (folder, path) = place();
            make(&path, "wal", "Notes", "old");
            let before = look(&path);
            let target = target(&path);
            let plan = staged(&target, &captured);
            if act == "rollback" {
                target.switch(&plan).unwrap();
            }
            let came_through = restore_in_process(act, &path, &origin, &plan, stop);
            let copy = tempfile::tempdir().unwrap();
            copy_folder(folder.path(), copy.path());
            let seen = look(&copy.path().join("app.db"));
            assert!(
                ["old", "new"].contains(&seen[1].as_str()),
                "{act} {stop}: {seen:?}"
            );
            if act == "switch" {
                target.switch(&plan).unwrap();
                assert_eq!(look(&path)[1], "new", "{stop}");
            } else if seen[1] == "old" {
                let error = target.switch(&plan).unwrap_err();
                assert_eq!(error.kind(), SourceErrorKind::Missing, "{stop}");
            }
            target.rollback(&plan, Phase::Switching).unwrap();
            assert_eq!(look(&path), before, "{act} {stop}");
            assert_eq!(names_in(folder.path()), ["app.db"], "{act} {stop}");
            if came_through {
                assert!(stop > 3, "{act} has too few steps");
                break;
            }
        }
    }
}

/// Every file beside the database that ends so is removed by somebody.
fn lose(folder: &Path, end: &str) {
    for name in names_in(folder) {
        if name.ends_with(end) {
            fs::remove_file(folder.join(name)).unwrap();
        }
    }
}

#[test]
fn a_staged_file_that_was_lost_is_not_taken_for_a_switch() {
    let (_other, origin) = place();
    make(&origin, "wal", "notes", "new");
    let captured = capture(&origin).unwrap();
    for make_target in [target, whole] {
        let (folder, path) = place();
        make(&path, "wal", "notes", "old");
        let target = make_target(&path);
        let plan = staged(&target, &captured);
        lose(folder.path(), ".new");
        let error = target.switch(&plan).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Missing);
        target.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(look(&path)[1], "old");
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
    let (folder, path) = place();
    let target = whole(&path);
    let plan = staged(&target, &captured);
    lose(folder.path(), ".new");
    let error = target.switch(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
    target.rollback(&plan, Phase::Switching).unwrap();
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_staged_file_that_was_lost_after_the_copy_brings_nothing_stale_back() {
    let (_other, origin) = place();
    make(&origin, "wal", "notes", "new");
    let captured = capture(&origin).unwrap();
    for (make_target, step) in [(target as fn(&Path) -> SqliteTarget, 1), (whole, 3)] {
        let (folder, path) = place();
        make(&path, "wal", "notes", "old");
        let target = make_target(&path);
        let plan = staged(&target, &captured);
        // Killed when the old data is kept, and before it is replaced.
        restore_in_process("switch", &path, &origin, &plan, step);
        let kept = names_in(folder.path());
        assert!(kept.iter().any(|name| name.contains(".old")), "{kept:?}");
        lose(folder.path(), ".new");
        let live = Connection::open(&path).unwrap();
        live.execute_batch("UPDATE notes SET text = 'since'")
            .unwrap();
        live.close().unwrap();
        let error = target.switch(&plan).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Missing, "{step}");
        assert_eq!(look(&path)[1], "since");
        target.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(look(&path)[1], "since");
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn a_file_that_somebody_else_put_there_is_not_removed() {
    for journal_mode in JOURNAL_MODES {
        let (_other, origin) = place();
        make(&origin, journal_mode, "notes", "new");
        let captured = capture(&origin).unwrap();
        let (folder, path) = place();
        let target = whole(&path);
        let plan = staged(&target, &captured);
        target.switch(&plan).unwrap();
        fs::remove_file(&path).unwrap();
        make(&path, journal_mode, "notes", "theirs");
        target.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(look(&path)[1], "theirs");
        assert_eq!(names_in(folder.path()), ["app.db"]);
        let error = target.rollback(&plan, Phase::Switching).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied);
        assert_eq!(look(&path)[1], "theirs");
    }
}

#[test]
fn tables_in_a_file_of_their_own_leave_nothing_else() {
    for journal_mode in JOURNAL_MODES {
        let (_other, origin) = place();
        make(&origin, journal_mode, "notes", "new");
        let captured = capture(&origin).unwrap();
        let (folder, path) = place();
        let target = target(&path);
        let plan = staged(&target, &captured);
        assert_eq!(
            names_in(folder.path()).len(),
            1,
            "{:?}",
            names_in(folder.path())
        );
        target.switch(&plan).unwrap();
        target.discard(&plan).unwrap();
        assert_eq!(names_in(folder.path()), ["app.db"]);
        assert_eq!(look(&path), ["notes", "new", "7", "by_text,changed"]);
    }
}
