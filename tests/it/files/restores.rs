//! The options of a restore, one by one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use keepstone_engine::source::SourceErrorKind;
use keepstone_sources::files::{
    Act, FilesRestoreReport, FilesSettings, FolderMark, Overwrite, Pattern,
};
use keepstone_testkit::memory::MemoryCapture;

use super::tree::{
    Mount, Place, acts, assert_same, capture, chmod, mode, restore, restore_well, set_mtime, write,
};

/// A source with three files, restored once, and then changed in the target in every way.
fn restored_and_changed() -> (Place, MemoryCapture) {
    let place = Place::new();
    for name in [
        "dir/same",
        "dir/content",
        "dir/newer",
        "dir/older",
        "dir/mode",
        "dir/gone",
        "kind",
    ] {
        write(place.source().join(name), format!("original {name}"));
        set_mtime(place.source().join(name), 1_000_000, 0);
    }
    let captured = place.capture();
    restore_well(&captured, &place.options());
    let there = place.restored();
    for (name, seconds) in [("dir/newer", 2_000_000), ("dir/older", 500_000)] {
        fs::write(there.join(name), "something else").unwrap();
        set_mtime(there.join(name), seconds, 0);
    }
    // Equal in size and time, so that only reading it tells.
    let hidden = "X".repeat("original dir/content".len());
    fs::write(there.join("dir/content"), hidden).unwrap();
    set_mtime(there.join("dir/content"), 1_000_000, 0);
    chmod(there.join("dir/mode"), 0o777);
    fs::remove_file(there.join("dir/gone")).unwrap();
    fs::remove_file(there.join("kind")).unwrap();
    symlink("dir/same", there.join("kind")).unwrap();
    write(there.join("dir/extra/deep"), "not in the snapshot");
    write(there.join("extra"), "not in the snapshot");
    (place, captured)
}

fn table(report: &FilesRestoreReport) -> Vec<(&'static str, Vec<Act>)> {
    let names = [
        "/same",
        "/content",
        "/newer",
        "/older",
        "/mode",
        "/gone",
        "/kind",
        "/extra",
        "extra/deep",
    ];
    names
        .into_iter()
        .map(|name| (name, acts(report, name)))
        .collect()
}

#[test]
fn each_overwrite_mode_replaces_what_it_says() {
    use Act::{Create, Keep, Metadata, Overwrite as Replace, Unchanged};
    let check = |overwrite, expected: [Act; 7]| {
        let (place, captured) = restored_and_changed();
        let mut options = place.options();
        options.overwrite = overwrite;
        let report = restore_well(&captured, &options);
        let found: Vec<_> = table(&report)
            .into_iter()
            .take(7)
            .map(|row| row.1[0])
            .collect();
        assert_eq!(found, expected, "{overwrite:?}");
        (place, captured)
    };
    check(
        Overwrite::Always,
        [Replace, Replace, Replace, Replace, Replace, Create, Replace],
    );
    check(
        Overwrite::IfChanged,
        [
            Unchanged, Unchanged, Replace, Replace, Metadata, Create, Replace,
        ],
    );
    let (place, _) = check(
        Overwrite::IfNewer,
        [Unchanged, Unchanged, Keep, Replace, Keep, Create, Keep],
    );
    assert_eq!(
        fs::read(place.restored().join("dir/newer")).unwrap(),
        b"something else"
    );
    let (place, _) = check(
        Overwrite::Never,
        [Unchanged, Unchanged, Keep, Keep, Keep, Create, Keep],
    );
    assert_eq!(mode(place.restored().join("dir/mode")), 0o777);
    assert_eq!(
        fs::read(place.restored().join("dir/gone")).unwrap(),
        b"original dir/gone"
    );
}

#[test]
fn a_dry_run_says_exactly_what_the_run_then_does_and_touches_nothing() {
    for delete in [false, true] {
        for overwrite in [
            Overwrite::Always,
            Overwrite::IfChanged,
            Overwrite::IfNewer,
            Overwrite::Never,
        ] {
            let (place, captured) = restored_and_changed();
            let before = super::tree::describe(&place.target());
            let mut options = place.options();
            (options.delete, options.overwrite, options.dry_run) = (delete, overwrite, true);
            let said = restore_well(&captured, &options);
            assert_eq!(super::tree::describe(&place.target()), before);
            options.dry_run = false;
            let done = restore_well(&captured, &options);
            assert_eq!(said.changes, done.changes);
            assert!(said.changes.is_sorted());
        }
    }
}

#[test]
fn a_dry_run_does_not_even_make_the_target() {
    let place = Place::new();
    write(place.source().join("file"), "file");
    let mut options = place.options();
    options.dry_run = true;
    let said = restore_well(&place.capture(), &options);
    assert!(!place.target().exists());
    assert_eq!(said.count(Act::Create), said.changes.len());
}

#[test]
fn delete_removes_what_the_snapshot_lacks_only_below_what_it_has_wholly() {
    let (place, captured) = restored_and_changed();
    // Above the root of the capture, and beside it: not ours.
    write(place.target().join("tmp/beside"), "beside");
    write(place.restored().parent().unwrap().join("beside"), "beside");
    let mut options = place.options();
    options.delete = true;
    options.verify = true;
    let report = restore_well(&captured, &options);
    assert_eq!(acts(&report, "/extra"), [Act::Delete, Act::Delete]);
    assert_eq!(acts(&report, "extra/deep"), [Act::Delete]);
    assert_same(&place.source(), &place.restored());
    assert!(place.target().join("tmp/beside").exists());
    assert!(place.restored().parent().unwrap().join("beside").exists());
}

#[test]
fn delete_spares_what_the_capture_left_out_on_purpose() {
    let place = Place::new();
    for name in ["a/file", "a/x.tmp", "cache/data", "big", "a/out/file"] {
        write(
            place.source().join(name),
            vec![b'x'; if name == "big" { 5000 } else { 5 }],
        );
    }
    write(
        place.source().join("cache/CACHEDIR.TAG"),
        FolderMark::cachedir().header,
    );
    let mount = Mount::tmpfs(&place.source().join("mounted"), "1m");
    write(mount.path().join("file"), "another file system");
    let mut settings = FilesSettings::new([place.source()]);
    settings.exclude = ["*.tmp", "out"].map(Pattern::new).to_vec();
    settings.exclude_marked = vec![FolderMark::cachedir()];
    settings.exclude_larger_than_bytes = Some(4000);
    settings.one_file_system = true;
    let captured = capture(settings);

    write(place.source().join("a/really extra"), "extra");
    let mut options = FilesRestoreOptionsInPlace::of(&place);
    options.delete = true;
    let report = restore_well(&captured, &options);
    let deleted: Vec<_> = report
        .changes
        .iter()
        .filter(|change| change.act == Act::Delete)
        .collect();
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    for name in [
        "a/file",
        "a/x.tmp",
        "cache/data",
        "big",
        "a/out/file",
        "mounted/file",
    ] {
        assert!(place.source().join(name).exists(), "{name}");
    }
    assert!(!place.source().join("a/really extra").exists());
}

/// Options that restore in place, but nothing beyond what the test made.
struct FilesRestoreOptionsInPlace;

impl FilesRestoreOptionsInPlace {
    fn of(place: &Place) -> keepstone_sources::files::FilesRestoreOptions {
        let mut options = keepstone_sources::files::FilesRestoreOptions::new("/");
        options.subpath = Some(place.item(""));
        options.sync = false;
        options
    }
}

#[test]
fn restoring_in_place_brings_back_what_was_changed_and_leaves_the_folders_above_alone() {
    let place = Place::new();
    write(place.source().join("dir/file"), "before");
    let captured = place.capture();
    let above = fs::metadata(place.source().parent().unwrap()).unwrap();
    fs::write(place.source().join("dir/file"), "after!").unwrap();
    chmod(place.source().join("dir"), 0o711);
    restore_well(&captured, &FilesRestoreOptionsInPlace::of(&place));
    assert_eq!(
        fs::read(place.source().join("dir/file")).unwrap(),
        b"before"
    );
    assert_eq!(mode(place.source().join("dir")), 0o755);
    let after = fs::metadata(place.source().parent().unwrap()).unwrap();
    assert_eq!(
        (above.mode(), above.mtime_nsec()),
        (after.mode(), after.mtime_nsec())
    );
}

#[test]
fn include_exclude_and_subpath_choose() {
    let names = [
        "a/one.txt",
        "a/two.log",
        "b/c/three.txt",
        "b/c/four.log",
        "b/five.txt",
    ];
    let check = |set: &dyn Fn(&Place, &mut keepstone_sources::files::FilesRestoreOptions),
                 below: &dyn Fn(&Place) -> std::path::PathBuf,
                 expected: &[&str]| {
        let place = Place::new();
        names
            .iter()
            .for_each(|name| write(place.source().join(name), name));
        fs::create_dir(place.source().join("hollow")).unwrap();
        let captured = place.capture();
        let mut options = place.options();
        set(&place, &mut options);
        let said = {
            let mut options = options.clone();
            options.dry_run = true;
            restore_well(&captured, &options)
        };
        let done = restore_well(&captured, &options);
        assert_eq!(said.changes, done.changes);
        let found = super::tree::describe(&below(&place));
        let found: Vec<_> = found
            .keys()
            .skip(1)
            .map(|path| String::from_utf8(path.clone()).unwrap())
            .collect();
        assert_eq!(found, expected);
    };
    let pattern = |text: &str| vec![Pattern::new(text)];
    let restored = |place: &Place| place.restored();
    check(
        &|_, o| o.include = pattern("*.log"),
        &restored,
        &["a", "a/two.log", "b", "b/c", "b/c/four.log"],
    );
    check(
        &|_, o| o.include = pattern("c"),
        &restored,
        &["b", "b/c", "b/c/four.log", "b/c/three.txt"],
    );
    check(
        &|_, o| {
            o.include = pattern("b");
            o.exclude = pattern("*.txt");
        },
        &restored,
        &["b", "b/c", "b/c/four.log"],
    );
    check(
        &|_, o| o.exclude = pattern("b"),
        &restored,
        &["a", "a/one.txt", "a/two.log", "hollow"],
    );
    check(
        &|p, o| o.subpath = Some(p.item("b/c")),
        &restored,
        &["b", "b/c", "b/c/four.log", "b/c/three.txt"],
    );
    let target = |place: &Place| place.target();
    let strip =
        |place: &Place, o: &mut keepstone_sources::files::FilesRestoreOptions, name: &str| {
            o.subpath = Some(place.item(name));
            o.strip_subpath = true;
        };
    check(
        &|p, o| strip(p, o, "b"),
        &target,
        &["c", "c/four.log", "c/three.txt", "five.txt"],
    );
    check(&|p, o| strip(p, o, "a/one.txt"), &target, &["one.txt"]);
    check(
        &|p, o| {
            strip(p, o, "b");
            o.include = pattern("four.log");
        },
        &target,
        &["c", "c/four.log"],
    );
}

#[test]
fn a_subpath_that_is_not_there_is_an_error() {
    let place = Place::new();
    let mut options = place.options();
    options.subpath = Some(place.item("nowhere"));
    let error = restore(&place.capture(), &options).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
    assert!(!place.target().exists());
}

#[test]
fn a_stripped_subpath_deletes_in_the_target_itself() {
    let place = Place::new();
    write(place.source().join("b/file"), "file");
    write(place.target().join("extra"), "extra");
    write(place.target().join("file"), "other");
    let mut options = place.options();
    options.subpath = Some(place.item("b"));
    options.strip_subpath = true;
    options.delete = true;
    restore_well(&place.capture(), &options);
    assert_eq!(fs::read(place.target().join("file")).unwrap(), b"file");
    assert!(!place.target().join("extra").exists());
}

#[test]
fn a_second_name_is_a_file_where_the_first_is_not_restored() {
    let place = Place::new();
    write(place.source().join("a/first"), "shared");
    for name in ["b second", "c third"] {
        fs::hard_link(place.source().join("a/first"), place.source().join(name)).unwrap();
    }
    let mut options = place.options();
    options.exclude = vec![Pattern::new("first")];
    options.verify = true;
    restore_well(&place.capture(), &options);
    let second = fs::metadata(place.restored().join("b second")).unwrap();
    let third = fs::metadata(place.restored().join("c third")).unwrap();
    assert_eq!(second.ino(), third.ino());
    assert_eq!(
        fs::read(place.restored().join("b second")).unwrap(),
        b"shared"
    );
}

#[test]
fn hard_links_are_made_again_when_they_were_broken() {
    let place = Place::new();
    write(place.source().join("first"), "shared");
    fs::hard_link(place.source().join("first"), place.source().join("second")).unwrap();
    let captured = place.capture();
    restore_well(&captured, &place.options());
    let again = restore_well(&captured, &place.options());
    assert_eq!(again.count(Act::Unchanged), again.changes.len());
    let (first, second) = (
        place.restored().join("first"),
        place.restored().join("second"),
    );
    fs::remove_file(&second).unwrap();
    fs::copy(&first, &second).unwrap();
    restore_well(&captured, &place.options());
    assert_same(&place.source(), &place.restored());
    // Facts of a file with further names are never changed through one of them.
    fs::hard_link(&first, place.outside().join("third")).unwrap();
    chmod(&first, 0o606);
    restore_well(&captured, &place.options());
    assert_same(&place.source(), &place.restored());
    assert_eq!(mode(place.outside().join("third")), 0o606);
}

#[test]
fn a_folder_gives_way_to_a_file_only_if_nothing_is_lost_by_it() {
    let place = Place::new();
    write(place.source().join("x"), "file");
    fs::create_dir(place.source().join("y")).unwrap();
    write(place.source().join("z/below"), "below");
    let captured = place.capture();
    fs::create_dir_all(place.restored().join("x")).unwrap();
    write(place.restored().join("y"), "a file in the way");
    symlink(place.outside(), place.restored().join("z")).unwrap();
    let report = restore_well(&captured, &place.options());
    assert_eq!(acts(&report, "/x"), [Act::Overwrite]);
    assert_same(&place.source(), &place.restored());
    assert_eq!(fs::read_dir(place.outside()).unwrap().count(), 0);

    fs::remove_file(place.restored().join("x")).unwrap();
    write(place.restored().join("x/precious"), "precious");
    let report = restore(&captured, &place.options()).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].reason.contains("not empty"),
        "{}",
        report.problems[0].reason
    );
    assert!(place.restored().join("x/precious").exists());

    let mut options = place.options();
    options.delete = true;
    options.dry_run = true;
    let said = restore_well(&captured, &options);
    options.dry_run = false;
    let done = restore_well(&captured, &options);
    assert_eq!(said.changes, done.changes);
    assert_eq!(acts(&done, "x/precious"), [Act::Delete]);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn verify_finds_a_flipped_byte_before_and_after() {
    let (place, captured) = restored_and_changed();
    let mut options = place.options();
    options.verify = true;
    options.dry_run = true;
    let said = restore_well(&captured, &options);
    assert_eq!(
        acts(&said, "/content"),
        [Act::Overwrite],
        "equal by size and time only"
    );
    options.dry_run = false;
    let done = restore_well(&captured, &options);
    assert_eq!(said.changes, done.changes);
    assert_eq!(
        fs::read(place.restored().join("dir/content")).unwrap(),
        b"original dir/content"
    );

    // A disk that does not give back what it got.
    fs::remove_file(place.restored().join("dir/gone")).unwrap();
    let flip = |event: keepstone_sources::files::FilesEvent<'_>| {
        if let keepstone_sources::files::FilesEvent::Verifying = event {
            fs::write(place.restored().join("dir/gone"), "original dir/gonE").unwrap();
        }
    };
    let report = keepstone_sources::files::restore_files(&captured, &options, &flip).unwrap();
    assert_eq!(report.differing.len(), 1);
    assert!(report.differing[0].path.ends_with("dir/gone"));
}

#[test]
fn a_capture_that_is_no_tree_of_files_is_restored_as_private_files() {
    let place = Place::new();
    let mut captured = MemoryCapture::default();
    let path = keepstone_engine::path::RepoPath::parse("db0/keys").unwrap();
    let info = keepstone_engine::source::ItemInfo {
        path: path.clone(),
        kind: keepstone_engine::source::NodeKind::File,
        meta: keepstone_engine::source::Meta::default(),
        profile: keepstone_engine::source::Profile::Records,
        size_bytes: 4,
        facts: keepstone_engine::source::StreamFacts::default(),
    };
    captured.items.insert(path, (info, b"keys".to_vec()));
    restore_well(&captured, &place.options());
    assert_eq!(fs::read(place.target().join("db0/keys")).unwrap(), b"keys");
    assert_eq!(mode(place.target().join("db0/keys")), 0o600);
    assert_eq!(mode(place.target().join("db0")), 0o700);
}
