//! Roots that lie in others, and what lies too deep: nothing that was named, and nothing beside it, is lost in silence.

use std::fs;
use std::sync::Arc;

use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backup::{Cancel, SourceRun, backup};
use keepstone_engine::limits::FOLDER_DEPTH_MAX;
use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::CapturedItems;
use keepstone_engine::source::{Items as _, Source as _};
use keepstone_sources::files::{Act, FilesSettings, FilesSource, FolderMark, Pattern};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use keepstone_testkit::scripted::{new_repo, options};
use rustix::fs::{CWD, Mode, OFlags};

use super::tree::{Mount, Place, acts, as_user, assert_same, capture, chmod, restore_well, write};

/// Settings with the source as a root and these in it.
fn roots(place: &Place, inner: &[&str]) -> FilesSettings {
    let inner = inner.iter().map(|name| place.source().join(name));
    FilesSettings::new([place.source()].into_iter().chain(inner))
}

/// Checks which of some names below the source a capture has.
#[track_caller]
fn check(place: &Place, captured: &MemoryCapture, has: &[&str], lacks: &[&str]) {
    let there = |name: &str| captured.items.contains_key(&place.item(name));
    let missing: Vec<_> = has.iter().filter(|name| !there(name)).collect();
    let extra: Vec<_> = lacks.iter().filter(|name| there(name)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:?}, extra {extra:?}"
    );
}

#[test]
fn a_root_that_is_mounted_in_another_is_captured_though_each_stays_on_its_file_system() {
    let place = Place::new();
    write(place.source().join("here"), "here");
    let mount = Mount::tmpfs(&place.source().join("mounted"), "1m");
    write(mount.path().join("there"), "there");
    write(mount.path().join("below/deep"), "deep");
    let second = Mount::tmpfs(&mount.path().join("second"), "1m");
    write(second.path().join("not asked for"), "second");
    let mut settings = roots(&place, &["mounted"]);
    settings.one_file_system = true;
    let captured = capture(settings);
    let all = [
        "here",
        "mounted",
        "mounted/there",
        "mounted/below/deep",
        "mounted/second",
    ];
    check(&place, &captured, &all, &["mounted/second/not asked for"]);
    restore_well(&captured, &place.options());
    assert_eq!(
        fs::read(place.restored().join("mounted/there")).unwrap(),
        b"there"
    );

    // Only the way to a root leads into a file system that is otherwise left out.
    let mut settings = roots(&place, &["mounted/below", "mounted/second"]);
    settings.one_file_system = true;
    let captured = capture(settings);
    let all = [
        "here",
        "mounted",
        "mounted/below/deep",
        "mounted/second/not asked for",
    ];
    check(&place, &captured, &all, &["mounted/there"]);
}

#[test]
fn a_root_in_what_is_left_out_of_another_is_captured() {
    let place = Place::new();
    for name in [
        "m/.nobackup",
        "m/other",
        "m/keep/file",
        "x/other",
        "x/a/keep/file",
        "x/a/other",
    ] {
        write(place.source().join(name), name);
    }
    let mut settings = roots(&place, &["m/keep", "x/a/keep"]);
    settings.exclude_marked = vec![FolderMark::parse(".nobackup")];
    settings.exclude = vec![Pattern::new("x"), Pattern::new("keep")];
    let captured = capture(settings);
    let all = ["m/.nobackup", "m/keep/file", "x", "x/a", "x/a/keep/file"];
    check(
        &place,
        &captured,
        &all,
        &["m/other", "x/other", "x/a/other"],
    );
    // What was only passed is never swept.
    let mut options = place.options();
    restore_well(&captured, &options);
    write(place.restored().join("x/mine"), "mine");
    write(place.restored().join("m/mine"), "mine");
    write(place.restored().join("m/keep/extra"), "extra");
    options.delete = true;
    restore_well(&captured, &options);
    assert!(place.restored().join("x/mine").exists());
    assert!(place.restored().join("m/mine").exists());
    assert!(!place.restored().join("m/keep/extra").exists());
}

#[test]
fn a_root_that_is_a_file_is_captured_whatever_its_size() {
    let place = Place::new();
    for name in ["big", "dir/big", "dir/bigger"] {
        write(place.source().join(name), vec![1; 5000]);
    }
    let mut settings = roots(&place, &["dir/big"]);
    settings.exclude_larger_than_bytes = Some(4000);
    check(
        &place,
        &capture(settings),
        &["dir/big"],
        &["big", "dir/bigger"],
    );
    let mut settings = FilesSettings::new([place.source().join("big")]);
    settings.exclude_larger_than_bytes = Some(4000);
    check(&place, &capture(settings), &["big"], &[]);
}

#[test]
fn a_root_below_a_folder_that_may_only_be_passed_is_captured() {
    let place = Place::new();
    write(place.source().join("closed/mine/file"), "mine");
    write(place.source().join("closed/other"), "other");
    chmod(place.source().join("closed"), 0o711);
    chmod(place.source().parent().unwrap(), 0o711);
    let settings = roots(&place, &["closed/mine"]);
    let captured = as_user(12345, || MemoryCapture::of(&FilesSource::new(settings))).unwrap();
    check(
        &place,
        &captured,
        &["closed", "closed/mine/file"],
        &["closed/other"],
    );
    let reasons: Vec<_> = captured
        .report
        .skipped
        .iter()
        .map(|skipped| &skipped.reason)
        .collect();
    assert_eq!(reasons, ["cannot list: permission denied"]);
}

#[test]
fn a_root_that_vanishes_from_another_is_named() {
    let place = Place::new();
    write(place.source().join("stays"), "stays");
    write(place.source().join("vanishes/file"), "file");
    let source = FilesSource::new(roots(&place, &["vanishes"]));
    let mut opened = source.open().unwrap();
    fs::remove_dir_all(place.source().join("vanishes")).unwrap();
    let report = opened.stream(&mut MemorySink::new(None)).unwrap();
    let named: Vec<_> = report
        .skipped
        .iter()
        .map(|skipped| skipped.path.clone())
        .collect();
    assert_eq!(named, [format!("/{}", place.item("vanishes"))]);
}

/// Makes folders in each other, each with a file beside the next; answers how many files there are on the way down to
/// the deepest path that a repository takes.
fn chain(place: &Place, name: &str, levels: usize) -> usize {
    let mut folder = rustix::fs::openat(CWD, place.source(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
        let make = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&folder, "after", make, Mode::RUSR).unwrap();
        folder = rustix::fs::openat(&folder, name, OFlags::PATH, Mode::empty()).unwrap();
    }
    FOLDER_DEPTH_MAX - place.item("").components().count()
}

#[test]
fn a_chain_of_folders_that_is_too_deep_is_named_and_everything_else_is_kept() {
    let place = Place::new();
    write(place.source().join("ordinary"), "ordinary");
    let files = chain(&place, "d", 600);
    let repo = new_repo(Arc::new(MemoryBackend::from_contents(Contents::new()))).unwrap();
    let source = FilesSource::new(FilesSettings::new([place.source()]));
    let run = SourceRun {
        name: "files".into(),
        source: &source,
    };
    let options = options("host", 0);
    let cancel = Cancel::default();
    let report = backup(&repo, &[run], &options, &|| 0, &NoObserver, &cancel).unwrap();
    let listed = repo.snapshots().unwrap();
    assert_eq!(Some(listed[0].id), report.id);

    let store = Arc::new(Store::load(&repo, &Usable::Indexed, true).unwrap());
    let items = CapturedItems::open(&store, &listed[0].snapshot.sources[0], 2, &cancel).unwrap();
    let skipped = &items.report().skipped;
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(skipped[0].reason, "lies too deep to be kept");
    let path = RepoPath::parse(&skipped[0].path).unwrap();
    assert_eq!(path.components().count(), FOLDER_DEPTH_MAX);
    restore_well(&items, &place.options());
    assert_eq!(
        fs::read(place.restored().join("ordinary")).unwrap(),
        b"ordinary"
    );
    let mut deepest = place.restored();
    let restored = std::iter::from_fn(|| {
        let there = deepest.join("after").exists();
        deepest.push("d");
        there.then_some(())
    });
    assert_eq!(restored.count(), files);
}

#[test]
fn a_tree_deeper_than_open_files_and_path_limits_comes_back() {
    let place = Place::new();
    // Longer in all than what the kernel takes as one path.
    let name = "deep down";
    let files = chain(&place, name, 1500);
    let captured =
        MemoryCapture::of(&FilesSource::new(FilesSettings::new([place.source()]))).unwrap();
    assert_eq!(
        captured.report.skipped.len(),
        1,
        "{:?}",
        captured.report.skipped
    );
    restore_well(&captured, &place.options());
    let again = restore_well(&captured, &place.options());
    assert_eq!(again.count(Act::Unchanged), again.changes.len());
    assert_eq!(acts(&again, "/after").len(), files);

    // What is extra may be deeper than anything that was captured.
    let mut options = place.options();
    options.delete = true;
    options.subpath = Some(place.item(""));
    fs::rename(place.source().join(name), place.restored().join("whole")).unwrap();
    let report = restore_well(&place.capture(), &options);
    assert!(
        report.count(Act::Delete) > 2 * (1500 - 2) + 2 * (files - 2),
        "{}",
        report.count(Act::Delete)
    );
    assert_same(&place.source(), &place.restored());
}
