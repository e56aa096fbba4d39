//! Overwriting a database in use: no commit of others is lost, whatever fails, waits or is killed.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keepstone_engine::source::{Phase, RestorePlan, SourceErrorKind, Target as _};
use keepstone_sources::sqlite::{Hindrance, SqliteTarget, SqliteTargetOptions};

use super::processes::{Helper, restore_in_process};
use super::restore::{captured, forced, stage, target};
use super::{
    JOURNAL_MODES, MOMENT, capture, files_in, generation_of, make_database, names_in, place, stock,
};

fn old_of(plan: &RestorePlan) -> PathBuf {
    PathBuf::from(&plan.keeps[0])
}

fn nothing_of_ours_in(folder: &Path) {
    let names = names_in(folder);
    assert!(
        !names.iter().any(|name| name.contains("keepstone")),
        "{names:?}"
    );
}

/// Kills an overwriting after so many steps; the application is still there.
fn kill_overwriting(path: &Path, mode: &str, stop: usize) -> (Helper, RestorePlan) {
    make_database(path, mode, "old");
    kill_overwriting_of(path, stop)
}

fn kill_overwriting_of(path: &Path, stop: usize) -> (Helper, RestorePlan) {
    let new = captured("wal");
    let holder = Helper::start("holder", path);
    let plan = stage(&forced(path), &new.capture);
    assert!(!restore_in_process("switch", path, &new.path, &plan, stop));
    (holder, plan)
}

/// Writes as another process that waits for nothing; answers whether it could.
fn writes(path: &Path, generation: &str) -> bool {
    let sql = format!("UPDATE rows SET generation = '{generation}'");
    Command::new("sqlite3")
        .arg("-batch")
        .arg(path)
        .arg(sql)
        .output()
        .expect("install the Debian package sqlite3")
        .status
        .success()
}

#[test]
fn a_switch_by_rename_that_goes_on_in_place_does_not_write_into_what_it_keeps() {
    for mode in JOURNAL_MODES {
        let new = captured("wal");
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let target = forced(&path);
        let plan = stage(&target, &new.capture);
        // At rest, then linked.
        assert!(!restore_in_process("switch", &path, &new.path, &plan, 2));
        assert!(super::restore::is_same_file(&path, &old_of(&plan)));
        let mut holder = Helper::start("holder", &path);
        target.switch(&plan).unwrap();
        holder.go_on();
        holder.expect("new");
        assert_eq!(generation_of(&old_of(&plan)), "old");
        target.rollback(&plan, Phase::Switched).unwrap();
        holder.go_on();
        holder.expect("old");
        holder.finish();
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn what_is_committed_until_the_overwriting_is_kept_and_nothing_can_be_committed_between() {
    for mode in JOURNAL_MODES {
        let new = captured("wal");
        let (_folder, path) = place();
        make_database(&path, mode, "old");
        let mut holder = Helper::start("holder", &path);
        let written = path.clone();
        let target = forced(&path).on_step(move |step| match step {
            "copied" => assert!(writes(&written, "later")),
            "marked" | "copy kept" => assert!(!writes(&written, "too late")),
            _ => {}
        });
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        holder.go_on();
        holder.expect("new");
        let expected = if mode == "wal" { "later" } else { "old" };
        assert_eq!(generation_of(&old_of(&plan)), expected);
        target.rollback(&plan, Phase::Switched).unwrap();
        assert_eq!(generation_of(&path), expected);
    }
}

#[test]
fn a_writer_that_does_not_end_keeps_its_commit_and_nothing_is_left_to_be_brought_back() {
    for mode in JOURNAL_MODES {
        let new = captured("wal");
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let mut writer = Helper::start("writer", &path);
        let options = SqliteTargetOptions {
            force: true,
            busy_timeout: MOMENT,
            ..SqliteTargetOptions::default()
        };
        let target = SqliteTarget::new(&path, options);
        let plan = stage(&target, &new.capture);
        let error = target.switch(&plan).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error:?}");
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
        assert!(matches!(cause, Some(Hindrance::InUse(..))), "{error:?}");
        assert!(!old_of(&plan).exists());
        writer.go_on();
        writer.expect("committed");
        target.rollback(&plan, Phase::Switching).unwrap();
        writer.finish();
        assert_eq!(generation_of(&path), "written");
        assert_eq!(names_in(folder.path()), ["app.db"], "{mode}");
    }
}

#[test]
fn an_overwriting_that_fails_half_way_leaves_nothing_to_be_brought_back() {
    let new = captured("wal");
    let (folder, path) = place();
    make_database(&path, "delete", "old");
    let holder = Helper::start("holder", &path);
    // SQLite cannot make its journal.
    let in_the_way = path.with_file_name("app.db-journal");
    let journal = in_the_way.clone();
    let target = forced(&path).on_step(move |step| {
        if step == "copy kept" {
            fs::create_dir(&journal).unwrap();
        }
    });
    let plan = stage(&target, &new.capture);
    target.switch(&plan).unwrap_err();
    assert!(!old_of(&plan).exists());
    fs::remove_dir(in_the_way).unwrap();
    assert!(writes(&path, "later"));
    target.rollback(&plan, Phase::Switching).unwrap();
    holder.finish();
    assert_eq!(generation_of(&path), "later");
    assert_eq!(names_in(folder.path()), ["app.db"]);
}

#[test]
fn what_a_killed_overwriting_left_never_overwrites_a_database_restored_since() {
    // Copied, marked, copy kept: only the last is the beginning of an overwriting.
    for stop in 1..=3 {
        let (folder, path) = place();
        let (holder, first) = kill_overwriting(&path, "wal", stop);
        holder.finish();
        assert_eq!(generation_of(&path), "old");
        let again = captured("wal");
        let second = stage(&target(&path), &again.capture);
        target(&path).switch(&second).unwrap();
        assert!(writes(&path, "work"));

        let fresh = forced(&path);
        if stop == 3 {
            let undone = fresh.rollback(&first, Phase::Switching);
            for refused in [undone, fresh.switch(&first)] {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), SourceErrorKind::Occupied);
                assert!(error.to_string().contains(&first.keeps[0]), "{error}");
            }
            assert_eq!(generation_of(&old_of(&first)), "old");
            fs::remove_file(old_of(&first)).unwrap();
        }
        fresh.rollback(&first, Phase::Switching).unwrap();
        assert_eq!(generation_of(&path), "work");
        target(&path).discard(&second).unwrap();
        nothing_of_ours_in(folder.path());
    }
}

/// Copied, marked, copy kept; without a log nothing is copied before it is marked.
const COPY_KEPT: [(&str, usize); 2] = [("wal", 3), ("delete", 2)];

#[test]
fn what_is_committed_after_an_overwriting_was_killed_is_overwritten_by_nothing() {
    for (mode, stop) in COPY_KEPT {
        let (folder, path) = place();
        let (holder, plan) = kill_overwriting(&path, mode, stop);
        assert!(old_of(&plan).exists());
        holder.finish();
        assert!(writes(&path, "work"));
        let fresh = forced(&path);
        let undone = fresh.rollback(&plan, Phase::Switching);
        for refused in [undone, fresh.switch(&plan)] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Occupied);
            assert!(error.to_string().contains(&plan.keeps[0]), "{error}");
        }
        assert_eq!(generation_of(&path), "work");
        assert_eq!(generation_of(&old_of(&plan)), "old");
        fs::remove_file(old_of(&plan)).unwrap();
        fresh.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(generation_of(&path), "work");
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn what_is_committed_while_a_killed_overwriting_is_compared_is_overwritten_by_nothing() {
    for (mode, stop) in COPY_KEPT {
        for sql in [
            "UPDATE rows SET generation = 'work'",
            "PRAGMA user_version = 7",
        ] {
            let (_folder, path) = place();
            let (_holder, plan) = kill_overwriting(&path, mode, stop);
            let written = path.clone();
            let target = forced(&path).on_step(move |step| {
                if step == "compared" {
                    stock(&written, sql);
                }
            });
            for _ in 0..2 {
                let error = target.rollback(&plan, Phase::Switching).unwrap_err();
                assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
            }
            let version = stock(&path, "PRAGMA user_version");
            assert!(generation_of(&path) == "work" || version == "7\n");
        }
    }
}

/// Neither undone nor finished, and the error names what is kept.
fn assert_refused(target: &SqliteTarget, plan: &RestorePlan) {
    let undone = target.rollback(plan, Phase::Switching);
    for refused in [undone, target.switch(plan)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
        assert!(error.to_string().contains(&plan.keeps[0]), "{error}");
    }
}

#[test]
fn what_is_committed_into_a_table_that_cannot_be_read_is_overwritten_by_nothing() {
    for (mode, stop) in COPY_KEPT {
        let (folder, path) = place();
        make_database(&path, mode, "old");
        // The stock program brings a collation along that the library lacks.
        stock(
            &path,
            "CREATE TABLE prices(p TEXT COLLATE decimal PRIMARY KEY) WITHOUT ROWID",
        );
        let (holder, plan) = kill_overwriting_of(&path, stop);
        holder.finish();
        stock(&path, "INSERT INTO prices VALUES ('1.5')");
        let fresh = forced(&path);
        assert_refused(&fresh, &plan);
        // As the message says.
        fs::rename(old_of(&plan), folder.path().join("elsewhere")).unwrap();
        fresh.switch(&plan).unwrap();
        assert_eq!(generation_of(&path), "new");
        fresh.rollback(&plan, Phase::Switched).unwrap();
        assert_eq!(stock(&path, "SELECT p FROM prices"), "1.5\n");
        assert_eq!(names_in(folder.path()), ["app.db", "elsewhere"]);
    }
}

/// Breaks a page of a table that nobody reads.
fn break_a_page(path: &Path) {
    stock(
        path,
        "CREATE TABLE big(a); INSERT INTO big SELECT zeroblob(3000) FROM generate_series(1, 20)",
    );
    stock(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let leaf = "SELECT (max(pageno) - 1) * (SELECT page_size FROM pragma_page_size)
        FROM dbstat WHERE name = 'big' AND pagetype = 'leaf'";
    let at: u64 = stock(path, leaf).trim().parse().unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0xff; 100], at).unwrap();
}

#[test]
fn a_damaged_database_is_overwritten_and_brought_back_whenever_that_was_killed() {
    for (mode, stop) in COPY_KEPT {
        for overwritten in [false, true] {
            let (folder, path) = place();
            make_database(&path, mode, "old");
            break_a_page(&path);
            let damaged = fs::read(&path).unwrap();
            let stop = stop + usize::from(overwritten);
            let (holder, plan) = kill_overwriting_of(&path, stop);
            holder.finish();
            let fresh = forced(&path);
            if overwritten {
                fresh.switch(&plan).unwrap();
            } else {
                // What is there cannot be read, so nothing proves that it is what is kept.
                assert_refused(&fresh, &plan);
                fs::rename(old_of(&plan), folder.path().join("elsewhere")).unwrap();
                fresh.switch(&plan).unwrap();
            }
            assert_eq!(generation_of(&path), "new");
            fresh.rollback(&plan, Phase::Switched).unwrap();
            let generation = stock(&path, "SELECT DISTINCT generation FROM rows");
            assert_eq!(generation, "old\n");
            assert_eq!(fs::read(&path).unwrap().len(), damaged.len());
            nothing_of_ours_in(folder.path());
        }
    }
}

#[test]
fn discarding_what_a_killed_overwriting_left_writes_nothing() {
    let (folder, path) = place();
    let (holder, plan) = kill_overwriting(&path, "wal", 3);
    holder.finish();
    assert!(writes(&path, "work"));
    forced(&path).discard(&plan).unwrap();
    assert_eq!(generation_of(&path), "work");
    assert_eq!(names_in(folder.path()), ["app.db"]);
}

#[test]
fn an_overwriting_of_a_file_that_is_gone_is_undone_without_its_log() {
    let (folder, path) = place();
    let (holder, plan) = kill_overwriting(&path, "wal", 3);
    holder.finish();
    Helper::start("committed", &path).kill();
    fs::remove_file(&path).unwrap();
    assert!(names_in(folder.path()).contains(&"app.db-wal".to_owned()));
    forced(&path).rollback(&plan, Phase::Switching).unwrap();
    assert_eq!(generation_of(&path), "old");
    assert_eq!(names_in(folder.path()), ["app.db"]);
}

#[test]
fn what_an_undo_was_killed_in_is_never_said_to_be_restored_while_the_old_database_lives() {
    for stop in 1.. {
        let (folder, path) = place();
        let new = captured("wal");
        // Copied, marked, copy kept, overwritten: the staged file is still there.
        let (_holder, plan) = kill_overwriting(&path, "wal", 4);
        let came_through = restore_in_process("rollback", &path, &new.path, &plan, stop);
        let fresh = forced(&path);
        if came_through {
            assert!(stop > 2);
            assert_eq!(generation_of(&path), "old");
            nothing_of_ours_in(folder.path());
            break;
        }
        match fresh.switch(&plan) {
            Ok(()) => assert_eq!(generation_of(&path), "new", "{stop}"),
            Err(error) => assert_eq!(error.kind(), SourceErrorKind::Missing, "{error:?}"),
        }
        fresh.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(generation_of(&path), "old", "{stop}");
        nothing_of_ours_in(folder.path());
    }
}

#[test]
fn an_empty_database_overwrites_one_in_use_and_is_taken_back() {
    let (_other, origin) = place();
    fs::write(&origin, "").unwrap();
    let empty = capture(&origin).unwrap();
    for mode in JOURNAL_MODES {
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let mut holder = Helper::start("holder", &path);
        let written = path.clone();
        let target = forced(&path).on_step(move |step| {
            if step == "copy kept" {
                assert!(!writes(&written, "too late"));
            }
        });
        let plan = target.plan(&empty).unwrap();
        target.stage(&plan, &empty).unwrap();
        target.switch(&plan).unwrap();
        assert_eq!(stock(&path, "SELECT count(*) FROM sqlite_schema"), "0\n");
        target.rollback(&plan, Phase::Switched).unwrap();
        holder.go_on();
        holder.expect("old");
        holder.finish();
        assert_eq!(names_in(folder.path()), ["app.db"]);
        assert_eq!(generation_of(&path), "old");
    }
}

#[test]
fn a_rollback_where_the_new_database_was_removed_does_not_meet_its_log() {
    let new = captured("wal");
    let (folder, path) = place();
    make_database(&path, "wal", "old");
    let before = files_in(folder.path());
    let target = target(&path);
    let plan = stage(&target, &new.capture);
    target.switch(&plan).unwrap();
    Helper::start("committed", &path).kill();
    fs::remove_file(&path).unwrap();
    assert!(path.with_file_name("app.db-wal").exists());
    target.rollback(&plan, Phase::Switched).unwrap();
    assert!(files_in(folder.path()) == before);
    assert_eq!(generation_of(&path), "old");
}
