//! Restores: beside, validated, switched and undone.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Phase, RestorePlan, SourceErrorKind, Target as _};
use keepstone_sources::sqlite::{SqliteTarget, SqliteTargetOptions};
use keepstone_testkit::memory::MemoryCapture;
use tempfile::TempDir;

use super::processes::Helper;
use super::{
    JOURNAL_MODES, MOMENT, capture, files_in, generation_of, make_database, names_in, place, stock,
    write_out,
};

/// A capture of a database whose rows say `new`.
pub(super) struct Captured {
    _folder: TempDir,
    pub(super) path: PathBuf,
    pub(super) capture: MemoryCapture,
}

pub(super) fn captured(journal_mode: &str) -> Captured {
    let (_folder, path) = place();
    make_database(&path, journal_mode, "new");
    let capture = capture(&path).unwrap();
    Captured {
        _folder,
        path,
        capture,
    }
}

pub(super) fn target(path: &Path) -> SqliteTarget {
    SqliteTarget::new(path, SqliteTargetOptions::default())
}

pub(super) fn forced(path: &Path) -> SqliteTarget {
    let options = SqliteTargetOptions {
        force: true,
        ..SqliteTargetOptions::default()
    };
    SqliteTarget::new(path, options)
}

fn impatient(path: &Path) -> SqliteTarget {
    let options = SqliteTargetOptions {
        busy_timeout: MOMENT,
        ..SqliteTargetOptions::default()
    };
    SqliteTarget::new(path, options)
}

/// Plans, stages and validates; live data must be untouched by it.
pub(super) fn stage(target: &SqliteTarget, capture: &MemoryCapture) -> RestorePlan {
    let plan = target.plan(capture).unwrap();
    target.stage(&plan, capture).unwrap();
    let validation = target.validate(&plan, capture).unwrap();
    assert_eq!(validation.differences, [""; 0]);
    assert_eq!(validation.records, 300);
    plan
}

pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    fs::metadata(a).unwrap().ino() == fs::metadata(b).unwrap().ino()
}

#[test]
fn a_database_is_put_where_none_was() {
    for mode in JOURNAL_MODES {
        let new = captured(mode);
        let (folder, path) = place();
        let target = target(&path);
        let plan = target.plan(&new.capture).unwrap();
        assert!(plan.replaces.is_empty() && plan.keeps.is_empty());
        assert_eq!(plan.size_bytes, new.capture.content("app.db").len() as u64);
        assert_eq!(names_in(folder.path()), [""; 0]);
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        assert!(fs::read(&path).unwrap() == new.capture.content("app.db"));
        assert_eq!(generation_of(&path), "new");
        target.switch(&plan).unwrap();
        target.rollback(&plan, Phase::Switched).unwrap();
        assert_eq!(names_in(folder.path()), [""; 0]);
        target.rollback(&plan, Phase::Switched).unwrap();

        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        target.discard(&plan).unwrap();
        target.discard(&plan).unwrap();
        assert_eq!(names_in(folder.path()), ["app.db"]);
        assert_eq!(generation_of(&path), "new");
        // There is no way back.
        let error = target.rollback(&plan, Phase::Switched).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied);
        assert_eq!(generation_of(&path), "new");
    }
}

#[test]
fn a_database_is_replaced_kept_and_brought_back() {
    for mode in JOURNAL_MODES {
        let new = captured(mode);
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let before = files_in(folder.path());
        let target = target(&path);
        let plan = stage(&target, &new.capture);
        assert_eq!(plan.replaces, [path.display().to_string()]);
        let old = PathBuf::from(&plan.keeps[0]);
        assert_eq!(generation_of(&path), "old");
        target.switch(&plan).unwrap();
        assert_eq!(generation_of(&path), "new");
        assert!(fs::read(&old).unwrap() == before["app.db"]);
        assert_eq!(names_in(folder.path()).len(), 2);

        target.rollback(&plan, Phase::Switched).unwrap();
        assert!(files_in(folder.path()) == before);
        target.rollback(&plan, Phase::Switched).unwrap();
        assert!(files_in(folder.path()) == before);

        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        target.discard(&plan).unwrap();
        target.discard(&plan).unwrap();
        assert_eq!(names_in(folder.path()), ["app.db"]);
        assert_eq!(generation_of(&path), "new");
    }
}

#[test]
fn what_was_only_in_the_log_or_undone_by_the_journal_is_kept_with_the_old_database() {
    for (mode, role, expected) in [("wal", "committed", "logged"), ("delete", "torn", "old")] {
        let new = captured("wal");
        let (folder, path) = place();
        make_database(&path, mode, "old");
        Helper::start(role, &path).kill();
        assert!(names_in(folder.path()).len() > 1);
        let target = target(&path);
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        // Nothing of the old database lies beside the new one.
        assert_eq!(names_in(folder.path()).len(), 2);
        assert!(fs::read(&path).unwrap() == new.capture.content("app.db"));
        assert_eq!(generation_of(&path), "new");
        assert_eq!(generation_of(Path::new(&plan.keeps[0])), expected);
        target.rollback(&plan, Phase::Switched).unwrap();
        assert_eq!(generation_of(&path), expected);
    }
}

#[test]
fn a_log_or_journal_without_a_database_never_meets_the_new_one() {
    for (mode, role, suffix) in [("wal", "committed", "-wal"), ("delete", "torn", "-journal")] {
        let new = captured(mode);
        let (folder, path) = place();
        make_database(&path, mode, "old");
        Helper::start(role, &path).kill();
        fs::remove_file(&path).unwrap();
        let _gone = fs::remove_file(path.with_file_name("app.db-shm"));
        let before = files_in(folder.path());
        assert_eq!(Vec::from_iter(before.keys()), [&format!("app.db{suffix}")]);
        let target = target(&path);
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        assert_eq!(generation_of(&path), "new");
        target.rollback(&plan, Phase::Switched).unwrap();
        assert!(files_in(folder.path()) == before);
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        target.discard(&plan).unwrap();
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn a_reader_sees_all_of_the_old_or_all_of_the_new_database() {
    for mode in JOURNAL_MODES {
        let new = captured(mode);
        let (_folder, path) = place();
        make_database(&path, mode, "old");
        let reader = Helper::start("reader", &path);
        let target = target(&path);
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        // The reader has had its time with the old one; give it as much with the new.
        for _ in 0..20 {
            generation_of_patiently(&path);
        }
        let said = reader.finish();
        assert!(said.contains("read "), "{said}");
    }
}

fn generation_of_patiently(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    let least: String = connection
        .query_row("SELECT min(generation) FROM rows", [], |row| row.get(0))
        .unwrap();
    assert_eq!(least, "new");
}

#[test]
fn a_database_in_use_is_refused_with_the_name_of_the_process() {
    for mode in JOURNAL_MODES {
        let new = captured(mode);
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let target = impatient(&path);
        let holder = Helper::start("holder", &path);
        let plan = target.plan(&new.capture).unwrap();
        assert!(
            plan.warnings[0].contains("must be stopped"),
            "{:?}",
            plan.warnings
        );
        let error = target.stage(&plan, &new.capture).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied);
        assert!(error.to_string().contains("(it"), "{error}");
        holder.finish();
        let plan = stage(&target, &new.capture);
        let before = files_in(folder.path());
        for role in ["holder", "exclusive"] {
            let holder = Helper::start(role, &path);
            let error = target.switch(&plan).unwrap_err();
            assert_eq!(
                error.kind(),
                SourceErrorKind::Occupied,
                "{mode} {role}: {error:?}"
            );
            holder.finish();
            assert!(files_in(folder.path()) == before);
        }
        target.rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(generation_of(&path), "old");
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn by_force_a_database_in_use_is_overwritten_in_one_transaction() {
    for (mode, new_mode) in [
        ("wal", "wal"),
        ("delete", "delete"),
        ("wal", "delete"),
        ("delete", "wal"),
    ] {
        let new = captured(new_mode);
        let (folder, path) = place();
        make_database(&path, mode, "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let mut holder = Helper::start("holder", &path);
        let target = forced(&path);
        let plan = stage(&target, &new.capture);
        assert!(plan.warnings[0].contains("in place"), "{:?}", plan.warnings);
        target.switch(&plan).unwrap();
        holder.go_on();
        holder.expect("new");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(generation_of(Path::new(&plan.keeps[0])), "old");
        assert_eq!(fs::metadata(&plan.keeps[0]).unwrap().mode() & 0o777, 0o640);

        target.rollback(&plan, Phase::Switched).unwrap();
        holder.go_on();
        holder.expect("old");
        holder.finish();
        assert_eq!(generation_of(&path), "old");
        assert_eq!(names_in(folder.path()), ["app.db"], "{mode} {new_mode}");

        // With everybody gone, the same plan goes by rename.
        let plan = stage(&target, &new.capture);
        target.switch(&plan).unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(generation_of(&path), "new");
    }
}

#[test]
fn overwriting_in_place_changes_the_page_size_only_without_a_log() {
    let (_other, origin) = place();
    make_database(&origin, "delete", "new");
    stock(&origin, "PRAGMA page_size = 8192; VACUUM");
    let new = capture(&origin).unwrap();
    for mode in JOURNAL_MODES {
        let (folder, path) = place();
        make_database(&path, mode, "old");
        let mut holder = Helper::start("holder", &path);
        let target = forced(&path);
        let plan = stage(&target, &new);
        let switched = target.switch(&plan);
        holder.go_on();
        if mode == "wal" {
            let error = switched.unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Occupied);
            assert!(error.to_string().contains("8192"), "{error}");
            holder.expect("old");
        } else {
            switched.unwrap();
            holder.expect("new");
        }
        target.rollback(&plan, Phase::Switching).unwrap();
        holder.go_on();
        holder.expect("old");
        holder.finish();
        assert_eq!(names_in(folder.path()), ["app.db"]);
    }
}

#[test]
fn what_is_no_database_is_replaced_only_by_force() {
    let new = captured("delete");
    let (folder, path) = place();
    fs::write(&path, "notes").unwrap();
    let error = target(&path).plan(&new.capture).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
    let target = forced(&path);
    let plan = stage(&target, &new.capture);
    target.switch(&plan).unwrap();
    assert_eq!(generation_of(&path), "new");
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"notes");
    assert_eq!(names_in(folder.path()), ["app.db"]);
}

#[test]
fn preflight_refuses_what_cannot_work() {
    let new = captured("delete");
    let (folder, path) = place();
    let kind =
        |path: &Path, capture: &MemoryCapture| target(path).plan(capture).unwrap_err().kind();
    assert_eq!(
        kind(&folder.path().join("no/app.db"), &new.capture),
        SourceErrorKind::Missing
    );
    assert_eq!(kind(folder.path(), &new.capture), SourceErrorKind::Occupied);
    let mut huge = new.capture.clone();
    huge.items.values_mut().next().unwrap().0.size_bytes = u64::MAX / 2;
    assert_eq!(kind(&path, &huge), SourceErrorKind::NoSpace);
    assert_eq!(
        kind(&path, &MemoryCapture::default()),
        SourceErrorKind::Corrupt
    );
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_capture_that_is_not_whole_or_not_a_database_is_refused() {
    let new = captured("delete");
    let (_folder, path) = place();
    let key = RepoPath::parse("app.db").unwrap();
    let mut changes: Vec<MemoryCapture> = vec![new.capture.clone(); 3];
    let cut = |capture: &mut MemoryCapture, length: usize| {
        let (info, content) = capture.items.get_mut(&key).unwrap();
        content.truncate(length);
        info.size_bytes = length as u64;
    };
    cut(&mut changes[0], 8192);
    cut(&mut changes[1], 50);
    changes[2].items.get_mut(&key).unwrap().1.truncate(8192);
    for changed in &changes {
        let target = target(&path);
        let plan = target.plan(changed).unwrap();
        let error = target.stage(&plan, changed).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{error:?}");
        target.rollback(&plan, Phase::Staging).unwrap();
        assert_eq!(names_in(path.parent().unwrap()), [""; 0]);
    }
}

#[test]
fn validation_names_what_differs() {
    let new = captured("delete");
    let (_folder, path) = place();
    let differences = |capture: &MemoryCapture| {
        let target = target(&path);
        let plan = target.plan(capture).unwrap();
        target.stage(&plan, capture).unwrap();
        let found = target.validate(&plan, capture).unwrap().differences;
        target.rollback(&plan, Phase::Staged).unwrap();
        found
    };
    let key = RepoPath::parse("app.db").unwrap();
    let change = |sql: &str| {
        let (_other, file) = place();
        write_out(&new.capture, &file);
        stock(&file, sql);
        let mut changed = new.capture.clone();
        let (info, content) = changed.items.get_mut(&key).unwrap();
        *content = fs::read(&file).unwrap();
        info.size_bytes = content.len() as u64;
        changed
    };
    assert_eq!(
        differences(&change("DELETE FROM rows WHERE id = 5")),
        ["table rows has 299 rows where 300 were captured"]
    );
    assert_eq!(
        differences(&change("UPDATE rows SET filler = x'01' WHERE id = 5")),
        ["the rows of table rows differ"]
    );
    assert_eq!(
        differences(&change("CREATE INDEX i ON rows(generation)")),
        ["the schema differs"]
    );
    let renamed = differences(&change("ALTER TABLE rows RENAME TO others"));
    assert!(
        renamed.contains(&"table rows is missing".to_owned()),
        "{renamed:?}"
    );
    let mut damaged = new.capture.clone();
    let content = &mut damaged.items.get_mut(&key).unwrap().1;
    let middle = content.len() / 2 / 4096 * 4096;
    content[middle..middle + 100].fill(0xee);
    assert!(!differences(&damaged).is_empty());
}

#[test]
fn owner_and_mode_are_those_of_the_old_file_or_the_recorded_ones() {
    let (_other, origin) = place();
    make_database(&origin, "delete", "new");
    fs::set_permissions(&origin, fs::Permissions::from_mode(0o640)).unwrap();
    let new = capture(&origin).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let (_folder, path) = place();
    let absent = target(&path);
    let plan = absent.plan(&new).unwrap();
    absent.stage(&plan, &new).unwrap();
    absent.switch(&plan).unwrap();
    assert_eq!(mode(&path), 0o640);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    let plan = stage(&target(&path), &new);
    target(&path).switch(&plan).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!(
        (before.mode(), before.uid(), before.gid()),
        (after.mode(), after.uid(), after.gid())
    );

    let mut unknown = new.clone();
    unknown.open_facts.attributes.remove("file_mode");
    let (_folder, path) = place();
    let absent = target(&path);
    let plan = absent.plan(&unknown).unwrap();
    absent.stage(&plan, &unknown).unwrap();
    absent.switch(&plan).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_link_is_followed_and_stays() {
    let new = captured("wal");
    let (folder, path) = place();
    make_database(&path, "wal", "old");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink("app.db", &link).unwrap();
    let target = target(&link);
    let plan = stage(&target, &new.capture);
    target.switch(&plan).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(generation_of(&path), "new");
    assert_eq!(capture(&link).unwrap().paths(), ["link.db"]);
}

#[test]
fn a_database_that_appeared_or_was_replaced_meanwhile_is_not_overwritten() {
    let new = captured("wal");
    let (folder, path) = place();
    let target = target(&path);
    let plan = stage(&target, &new.capture);
    make_database(&path, "wal", "old");
    let error = target.switch(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
    target.rollback(&plan, Phase::Switching).unwrap();
    assert_eq!(generation_of(&path), "old");

    let plan = stage(&target, &new.capture);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let error = target.switch(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
}
