//! A restore that is interrupted, runs out of space, or is watched by others.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, ItemInfo, Items, OpenFacts, SourceError, SourceErrorKind,
};
use keepstone_sources::files::{Act, FilesEvent, FilesRestoreOptions, restore_files};
use keepstone_testkit::memory::MemoryCapture;

use super::tree::{
    Mount, Place, acl, as_user, assert_same, chmod, describe, mode, restore, restore_well, write,
};

/// Items with something that happens on every piece of content.
struct Hooked<'a> {
    inner: &'a MemoryCapture,
    hook: &'a (dyn Fn(&RepoPath) -> Result<(), SourceError> + Sync),
}

impl Items for Hooked<'_> {
    fn open_facts(&self) -> &OpenFacts {
        self.inner.open_facts()
    }

    fn report(&self) -> &CaptureReport {
        self.inner.report()
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.inner.walk(visit)
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        self.inner.get(path)
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.inner.read(path, &mut |piece| {
            let (first, second) = piece.split_at(piece.len() / 2);
            take(first)?;
            (self.hook)(path)?;
            take(second)
        })
    }

    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.inner.read_from(path, offset, take)
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn lost() -> SourceError {
    SourceError::new(SourceErrorKind::Engine, "the repository is gone")
}

fn many_files(place: &Place, count: usize) -> MemoryCapture {
    for n in 0..count {
        let path = place.source().join(format!("d{}/f{n}", n % 5));
        write(&path, format!("content of {n}"));
        chmod(&path, 0o400 | u32::try_from(n % 64).unwrap());
    }
    place.capture()
}

/// Every file under its final name must be complete; answers how many there are.
fn complete_files(place: &Place) -> usize {
    let (expected, found) = (describe(&place.source()), describe(&place.restored()));
    let files = found.iter().filter(|(_, facts)| facts.kind == "file");
    files
        .map(|(path, facts)| assert_eq!(facts, &expected[path]))
        .count()
}

#[test]
fn an_interrupted_restore_leaves_whole_files_only_and_is_taken_up_by_the_next() {
    let place = Place::new();
    let captured = many_files(&place, 300);
    let mut done_before = 0;
    for reads in [1, 50, 120] {
        let left = AtomicUsize::new(reads);
        let fail_later =
            |_: &RepoPath| match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            }) {
                Ok(_) => Ok(()),
                Err(_) => Err(lost()),
            };
        let items = Hooked {
            inner: &captured,
            hook: &fail_later,
        };
        let error = restore(&items, &place.options()).unwrap_err();
        assert_eq!(error.to_string(), "the repository is gone");
        let done = complete_files(&place);
        assert_eq!(
            done,
            done_before + reads,
            "what was there already is not read again"
        );
        done_before = done;
    }
    let report = restore_well(&captured, &place.options());
    let made = report.changes.iter().filter(|change| {
        change.act == Act::Create && captured.items[&change.path].0.size_bytes > 0
    });
    assert_eq!(made.count(), 300 - done_before);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn temporary_files_of_a_dead_run_are_removed_and_those_of_a_live_one_are_not() {
    let place = Place::new();
    let captured = many_files(&place, 10);
    restore_well(&captured, &place.options());
    let dead = place.restored().join("d1/.keepstone-0123456789abcdef.part");
    let live = place.restored().join("d1/.keepstone-fedcba9876543210.part");
    let similar = place.restored().join("d1/.keepstone.part");
    for path in [&dead, &live, &similar] {
        write(path, "half");
    }
    let held = fs::File::open(&live).unwrap();
    held.lock().unwrap();
    restore_well(&captured, &place.options());
    assert!(!dead.exists());
    assert!(live.exists());
    assert!(similar.exists());
}

/// Of a file that lies damaged in the repository.
fn failing(damaged: RepoPath) -> impl Fn(&RepoPath) -> Result<(), SourceError> {
    move |path| {
        if *path == damaged {
            return Err(SourceError::new(SourceErrorKind::Damage, "no chunk"));
        }
        Ok(())
    }
}

#[test]
fn a_file_that_is_damaged_in_the_repository_is_named_and_the_others_are_restored() {
    let place = Place::new();
    let captured = many_files(&place, 20);
    let damaged = place.item("d3/f8");
    let fail_one = |path: &RepoPath| {
        if *path == damaged {
            let act = format!("chunk of {path} is damaged");
            return Err(SourceError::new(SourceErrorKind::Corrupt, act));
        }
        Ok(())
    };
    let items = Hooked {
        inner: &captured,
        hook: &fail_one,
    };
    let report = restore(&items, &place.options()).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].path, damaged.to_string());
    assert!(report.problems[0].reason.contains("is damaged"));
    assert_eq!(complete_files(&place), 19);
}

#[test]
fn delete_removes_nothing_where_a_file_is_damaged() {
    let place = Place::new();
    symlink("somewhere", place.source().join("a link")).unwrap();
    write(place.source().join("p"), "p");
    fs::hard_link(place.source().join("p"), place.source().join("q")).unwrap();
    let captured = many_files(&place, 20);
    restore_well(&captured, &place.options());
    let damaged = place.item("d3/f8");
    // As it is called by now.
    fs::rename(
        place.restored().join("d3/f8"),
        place.restored().join("d4/moved"),
    )
    .unwrap();
    for name in ["a link", "p", "q"] {
        fs::remove_file(place.restored().join(name)).unwrap();
        write(place.restored().join(name).join("moved"), "moved");
    }
    let mut options = place.options();
    options.delete = true;
    let fail_one = failing(damaged);
    let items = Hooked {
        inner: &captured,
        hook: &fail_one,
    };
    let report = restore(&items, &options).unwrap();
    assert!(report.damaged);
    assert_eq!(report.count(Act::Delete), 0, "{report:?}");
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| &problem.path)
        .collect();
    assert_eq!(problems.len(), 5, "{problems:?}");
    for folder in ["d4", "a link", "p", "q"] {
        assert!(
            place.restored().join(folder).join("moved").exists(),
            "{folder}"
        );
    }
    restore_well(&captured, &options);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn no_folder_goes_for_a_file_before_all_files_that_replace_folders_are_known_to_be_whole() {
    let place = Place::new();
    symlink("somewhere", place.source().join("a")).unwrap();
    for name in ["b", "c"] {
        write(place.source().join(name), name);
    }
    fs::hard_link(place.source().join("b"), place.source().join("d")).unwrap();
    let captured = place.capture();
    for name in ["a", "b", "c", "d"] {
        write(place.restored().join(name).join("moved"), "moved");
    }
    let damaged = place.item("c");
    let fail_one = failing(damaged);
    let items = Hooked {
        inner: &captured,
        hook: &fail_one,
    };
    let mut options = place.options();
    options.delete = true;
    let report = restore(&items, &options).unwrap();
    assert_eq!(report.problems.len(), 4, "{report:?}");
    assert_eq!(report.count(Act::Delete), 0, "{report:?}");
    for name in ["a", "b", "c", "d"] {
        assert!(place.restored().join(name).join("moved").exists(), "{name}");
    }
    restore_well(&captured, &options);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn a_full_disk_is_refused_beforehand_where_it_can_be_known() {
    let place = Place::new();
    write(place.source().join("big"), vec![1; 3 << 20]);
    let _mount = Mount::tmpfs(&place.target(), "1m");
    let error = restore(&place.capture(), &place.options()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace);
    assert!(
        error.to_string().contains(place.target().to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read_dir(place.target()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_fills_up_stops_the_restore_and_names_the_file() {
    let place = Place::new();
    for n in 0..8 {
        write(place.source().join(format!("f{n}")), vec![1; 500_000]);
    }
    let captured = place.capture();
    let _mount = Mount::tmpfs(&place.target(), "5m");
    let reads = AtomicUsize::new(0);
    let fill = |_: &RepoPath| {
        if reads.fetch_add(1, Ordering::Relaxed) == 12 {
            // Someone else takes the rest of the disk; the write that does not fit fails.
            fs::write(place.target().join("filler"), vec![2; 5 << 20]).unwrap_err();
        }
        Ok(())
    };
    let items = Hooked {
        inner: &captured,
        hook: &fill,
    };
    let mut options = place.options();
    options.threads = 1;
    let error = restore(&items, &options).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace);
    assert!(error.to_string().contains("source/f"), "{error}");
    assert_eq!(complete_files(&place), 1, "and no temporary file is left");

    fs::remove_file(place.target().join("filler")).unwrap();
    restore_well(&captured, &place.options());
    assert_same(&place.source(), &place.restored());
}

/// Modes of everything in a folder and below it.
fn modes(folder: &Path, into: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        into.push((path.display().to_string(), meta.mode() & 0o7777));
        if meta.is_dir() {
            modes(&path, into);
        }
    }
}

#[test]
fn a_secret_is_never_wider_than_recorded() {
    let place = Place::new();
    for name in ["closed/secret", "open/secret", "closed/below/file"] {
        write(place.source().join(name), "secret");
    }
    chmod(place.source().join("closed"), 0o700);
    chmod(place.source().join("closed/below/file"), 0o644);
    chmod(place.source().join("open/secret"), 0o600);
    chmod(place.source().join("closed/secret"), 0o640);
    std::os::unix::fs::chown(place.source().join("closed/secret"), Some(1234), Some(1234)).unwrap();
    let captured = place.capture();
    // The target has the folder already, open to all and handing down a list for everybody.
    fs::create_dir_all(place.restored().join("closed")).unwrap();
    chmod(place.restored().join("closed"), 0o777);
    fs::create_dir_all(place.restored().join("open")).unwrap();
    for name in ["closed", "open"] {
        let path = place.restored().join(name);
        xattr::set(path, "system.posix_acl_default", &acl(4321, 7)).unwrap();
    }

    let seen = Mutex::new(Vec::new());
    let look = |_: &RepoPath| {
        modes(&place.restored(), &mut seen.lock().unwrap());
        Ok(())
    };
    let items = Hooked {
        inner: &captured,
        hook: &look,
    };
    restore_files(&items, &place.options(), &|event| {
        if matches!(event, FilesEvent::Done(_) | FilesEvent::Written(_))
            && place.restored().exists()
        {
            modes(&place.restored(), &mut seen.lock().unwrap());
        }
    })
    .unwrap();
    let seen = seen.into_inner().unwrap();
    let of = |ending: &str| {
        seen.iter()
            .filter(|(path, _)| path.ends_with(ending))
            .map(|(_, mode)| *mode)
            .collect::<Vec<_>>()
    };
    assert!(!of(".part").is_empty());
    assert!(of(".part").iter().all(|mode| *mode == 0o600), "{seen:?}");
    assert!(of("open/secret").iter().all(|mode| *mode == 0o600));
    assert!(of("closed/secret").iter().all(|mode| *mode == 0o640));
    let first_secret = seen
        .iter()
        .position(|(path, _)| path.contains("closed/"))
        .unwrap();
    let later = seen[first_secret..]
        .iter()
        .filter(|(path, _)| path.ends_with("closed"));
    for (_, mode) in later {
        assert_eq!(
            *mode & 0o077,
            0,
            "the folder was closed before anything was put into it"
        );
    }
    assert_same(&place.source(), &place.restored());
}

#[test]
fn without_root_owners_stay_and_groups_get_no_more_than_everybody() {
    let place = Place::new();
    write(place.source().join("secret"), "secret");
    chmod(place.source().join("secret"), 0o640);
    write(place.source().join("public"), "public");
    chmod(place.source().join("public"), 0o664);
    let captured = place.capture();
    fs::create_dir(place.target()).unwrap();
    std::os::unix::fs::chown(place.target(), Some(12345), Some(12345)).unwrap();
    chmod(place.target().parent().unwrap(), 0o711);
    let report = as_user(12345, || restore(&captured, &place.options())).unwrap();
    assert_eq!(report.problems, []);
    let facts = fs::metadata(place.restored().join("secret")).unwrap();
    assert_eq!((facts.uid(), facts.gid()), (12345, 12345));
    assert_eq!(mode(place.restored().join("secret")), 0o600);
    assert_eq!(mode(place.restored().join("public")), 0o644);
    let owners: Vec<_> = report
        .notes
        .iter()
        .filter(|note| note.contains("owner"))
        .collect();
    assert_eq!(
        owners.len(),
        1,
        "told once, not per file: {:?}",
        report.notes
    );
    assert_eq!(
        fs::read(place.restored().join("secret")).unwrap(),
        b"secret"
    );
}

#[test]
fn delete_removes_nothing_where_not_all_that_was_skipped_is_named() {
    let place = Place::new();
    write(place.source().join("a/file"), "content");
    let mut captured = place.capture();
    captured.report.unnamed = 1;
    write(place.source().join("a/perhaps unread"), "kept");
    let mut options = FilesRestoreOptions::new("/");
    options.subpath = Some(place.item(""));
    options.sync = false;
    options.delete = true;
    let report = restore_well(&captured, &options);
    assert_eq!(report.count(Act::Delete), 0, "{report:?}");
    assert!(!report.notes.is_empty());
    assert!(place.source().join("a/perhaps unread").exists());
}
