//! Kill -9 after every step of a restore: who comes next finds all of the old or all of the new database, and a fresh
//! process finishes or undoes.

use std::fs;
use std::path::Path;

use keepstone_engine::source::{Phase, RestorePlan, Target as _};
use keepstone_sources::sqlite::SqliteTarget;

use super::processes::{Helper, restore_in_process};
use super::restore::{captured, forced, is_same_file, stage, target};
use super::{
    JOURNAL_MODES, capture, copy_folder, files_in, generation_of, make_database, names_in, place,
    stock,
};

/// The ways a live database may lie there when a restore begins.
#[derive(Debug, Clone, Copy)]
enum Before {
    Log,
    LogWithContent,
    Journal,
    HotJournal,
    Nothing,
    NothingButLog,
    NoDatabase,
}

impl Before {
    const ALL: [Self; 7] = [
        Self::Log,
        Self::LogWithContent,
        Self::Journal,
        Self::HotJournal,
        Self::Nothing,
        Self::NothingButLog,
        Self::NoDatabase,
    ];

    fn make(self, path: &Path) {
        match self {
            Self::Log => make_database(path, "wal", "old"),
            Self::LogWithContent => {
                make_database(path, "wal", "before");
                Helper::start("committed", path).kill();
            }
            Self::Journal => make_database(path, "delete", "old"),
            Self::HotJournal => {
                make_database(path, "delete", "old");
                Helper::start("torn", path).kill();
            }
            Self::Nothing => {}
            Self::NothingButLog => {
                Self::LogWithContent.make(path);
                fs::remove_file(path).unwrap();
                fs::remove_file(path.with_file_name("app.db-shm")).unwrap();
            }
            Self::NoDatabase => {
                // Only by force; with a log of its own that must come back with it.
                fs::write(path, "no database at all\n".repeat(500)).unwrap();
                fs::write(path.with_file_name("app.db-wal"), "no log").unwrap();
            }
        }
    }

    fn target(self, path: &Path) -> SqliteTarget {
        match self {
            Self::NoDatabase => forced(path),
            _ => target(path),
        }
    }

    /// What somebody finds who opens the name.
    fn look(self, path: &Path) -> Seen {
        if !path.exists() {
            return Seen::Old;
        }
        if fs::read(path).unwrap().starts_with(b"no database") {
            return Seen::Old;
        }
        match (self, generation_of(path).as_str()) {
            (_, "new") => Seen::New,
            (Self::LogWithContent, "logged")
            | (Self::Log | Self::Journal | Self::HotJournal, "old") => Seen::Old,
            (_, other) => panic!("{self:?}: {other}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Old,
    New,
}

/// What a reader finds who comes to a folder as a kill left it, without changing it.
fn look_at_copy(before: Before, folder: &Path) -> Seen {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path());
    before.look(&copy.path().join("app.db"))
}

#[test]
fn a_switch_killed_after_any_step_is_all_old_or_all_new_and_can_be_finished_or_undone() {
    let new = captured("wal");
    for before in Before::ALL {
        for stop in 1.. {
            let (folder, path) = place();
            before.make(&path);
            let originally = files_in(folder.path());
            let plan = stage(&before.target(&path), &new.capture);
            let came_through = restore_in_process("switch", &path, &new.path, &plan, stop);
            let seen = look_at_copy(before, folder.path());
            let undone = tempfile::tempdir().unwrap();
            copy_links(folder.path(), undone.path());

            // A fresh process finishes what it finds…
            let fresh = before.target(&path);
            fresh.switch(&plan).unwrap();
            assert_eq!(before.look(&path), Seen::New, "{before:?} {stop}");
            fresh.discard(&plan).unwrap();
            assert_eq!(names_in(folder.path()), ["app.db"], "{before:?} {stop}");

            // … or undoes it.
            let plan = moved(&plan, folder.path(), undone.path());
            let path = undone.path().canonicalize().unwrap().join("app.db");
            let fresh = before.target(&path);
            fresh.rollback(&plan, Phase::Switching).unwrap();
            assert_eq!(before.look(&path), Seen::Old, "{before:?} {stop}");
            let left = files_in(undone.path());
            let is_ours = |name: &String| name.contains("keepstone");
            assert!(
                !left.keys().any(is_ours),
                "{before:?} {stop}: {:?}",
                left.keys()
            );
            if matches!(
                before,
                Before::Nothing | Before::NothingButLog | Before::NoDatabase
            ) {
                assert!(left == originally, "{before:?} {stop}");
            }
            if came_through {
                assert!(stop > 2, "{before:?} has too few steps");
                assert_eq!(seen, Seen::New);
                break;
            }
        }
    }
}

#[test]
fn a_rollback_killed_after_any_step_is_all_old_or_all_new_and_can_be_repeated() {
    let new = captured("wal");
    for before in Before::ALL {
        for stop in 1.. {
            let (folder, path) = place();
            before.make(&path);
            let target = before.target(&path);
            let plan = stage(&target, &new.capture);
            target.switch(&plan).unwrap();
            // Somebody worked with the new database and was killed.
            Helper::start("committed", &path).kill();
            stock(&path, "UPDATE rows SET generation = 'new'");
            let came_through = restore_in_process("rollback", &path, &new.path, &plan, stop);
            look_at_copy(before, folder.path());
            before
                .target(&path)
                .rollback(&plan, Phase::Switching)
                .unwrap();
            assert_eq!(before.look(&path), Seen::Old, "{before:?} {stop}");
            let ours = |name: &String| name.contains("keepstone");
            assert!(
                !names_in(folder.path()).iter().any(ours),
                "{before:?} {stop}"
            );
            if came_through {
                break;
            }
        }
    }
}

#[test]
fn staging_killed_after_any_step_leaves_the_live_database_alone_and_starts_over() {
    let new = captured("wal");
    for stop in 1.. {
        let (folder, path) = place();
        make_database(&path, "wal", "old");
        let before = files_in(folder.path());
        let target = target(&path);
        let plan = target.plan(&new.capture).unwrap();
        let came_through = restore_in_process("stage", &path, &new.path, &plan, stop);
        assert!(files_in(folder.path())["app.db"] == before["app.db"]);
        target.stage(&plan, &new.capture).unwrap();
        assert_eq!(
            target.validate(&plan, &new.capture).unwrap().differences,
            [""; 0]
        );
        target.rollback(&plan, Phase::Staging).unwrap();
        assert!(files_in(folder.path()) == before);
        if came_through {
            assert!(stop > 3);
            break;
        }
    }
}

/// Copies a folder with its hard links, since these tell how far a switch had come.
fn copy_links(from: &Path, to: &Path) {
    let names = names_in(from);
    for (number, name) in names.iter().enumerate() {
        let same = names[..number]
            .iter()
            .find(|other| is_same_file(&from.join(other), &from.join(name)));
        match same {
            Some(other) => fs::hard_link(to.join(other), to.join(name)).unwrap(),
            None => fs::copy(from.join(name), to.join(name)).map(drop).unwrap(),
        }
    }
}

/// The same plan in another folder.
fn moved(plan: &RestorePlan, from: &Path, to: &Path) -> RestorePlan {
    let text = serde_json::to_string(plan).unwrap();
    let name = |path: &Path| path.canonicalize().unwrap().display().to_string();
    serde_json::from_str(&text.replace(&name(from), &name(to))).unwrap()
}

#[test]
fn an_overwriting_killed_at_any_moment_is_all_old_or_all_new_and_can_be_finished_or_undone() {
    let (_new_folder, new_path) = place();
    make_database(&new_path, "wal", "new");
    stock(
        &new_path,
        "CREATE TABLE more(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000) INSERT INTO more SELECT randomblob(900) FROM n",
    );
    let new = capture(&new_path).unwrap();
    for mode in JOURNAL_MODES {
        let (mut old_seen, mut new_seen) = (0, 0);
        for stop in 1.. {
            let (folder, path) = place();
            make_database(&path, mode, "old");
            let holder = Helper::start("holder", &path);
            let target = forced(&path);
            let plan = target.plan(&new).unwrap();
            target.stage(&plan, &new).unwrap();
            let came_through = restore_in_process("switch", &path, &new_path, &plan, stop);
            let copy = tempfile::tempdir().unwrap();
            copy_folder(folder.path(), copy.path());
            match generation_of(&copy.path().join("app.db")).as_str() {
                "old" => old_seen += 1,
                "new" => new_seen += 1,
                other => panic!("{other}"),
            }
            if stop % 2 == 0 {
                target.switch(&plan).unwrap();
                assert_eq!(generation_of(&path), "new");
            }
            // Undone with the holder still there, or after it went.
            let _holder = (stop % 3 == 0).then_some(holder);
            target.rollback(&plan, Phase::Switching).unwrap();
            assert_eq!(generation_of(&path), "old");
            let ours = |name: &String| name.contains("keepstone");
            assert!(!names_in(folder.path()).iter().any(ours), "{mode} {stop}");
            if came_through {
                break;
            }
        }
        assert!(old_seen > 0 && new_seen > 0, "{old_seen} {new_seen}");
    }
}
