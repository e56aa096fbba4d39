//! Rights of what is there already, and of what a folder hands down: a restore takes none away unasked and gives none.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use keepstone_engine::source::Skipped;
use keepstone_sources::files::{Act, FilesEvent, FilesRestoreOptions, restore_files};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::tree::{Place, acl, acts, as_user, chmod, mode, restore, restore_well, write};

/// Options that restore the source in place.
fn in_place(place: &Place) -> FilesRestoreOptions {
    let mut options = FilesRestoreOptions::new("/");
    options.subpath = Some(place.item(""));
    options.sync = false;
    options
}

#[test]
fn special_bits_of_an_equal_file_stay_without_leave() {
    let place = Place::new();
    let tool = place.source().join("tool");
    write(&tool, "tool");
    chown(&tool, Some(1234), Some(4321)).unwrap();
    chmod(&tool, 0o6755);
    let captured = place.capture();
    let report = restore_well(&captured, &in_place(&place));
    assert_eq!(mode(&tool), 0o6755);
    assert_eq!(acts(&report, "/tool"), [Act::Unchanged]);
    assert_eq!(report.notes, Vec::<String>::new());

    // Another fact is set without touching them.
    xattr::set(&tool, "user.note", b"later").unwrap();
    let report = restore_well(&captured, &in_place(&place));
    assert_eq!(acts(&report, "/tool"), [Act::Metadata]);
    assert_eq!(xattr::list(&tool).unwrap().count(), 0);
    assert_eq!(mode(&tool), 0o6755);

    // What is not as it was recorded gets none of them.
    for change in [
        (|tool: &Path| chmod(tool, 0o755)) as fn(&Path),
        |tool| {
            chown(tool, Some(1235), None).unwrap();
            chmod(tool, 0o6755);
        },
        |tool| {
            fs::write(tool, "longer than it was").unwrap();
            chmod(tool, 0o6755);
        },
    ] {
        change(&tool);
        let report = restore_well(&captured, &in_place(&place));
        assert_eq!(mode(&tool), 0o755);
        assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
        assert!(
            report.notes[0].contains("set-user-id"),
            "{:?}",
            report.notes
        );
    }
    assert_eq!(fs::read(&tool).unwrap(), b"tool");
}

#[test]
fn a_file_that_takes_the_place_of_one_with_special_bits_gets_none() {
    let place = Place::new();
    let tool = place.source().join("tool");
    write(&tool, "tool");
    chmod(&tool, 0o4755);
    let captured = place.capture();
    xattr::set(&tool, "user.note", b"later").unwrap();
    let swap = |event: FilesEvent<'_>| {
        if let FilesEvent::Planned { .. } = event {
            let other = place.outside().join("other");
            write(&other, "evil");
            chown(&other, Some(1234), None).unwrap();
            chmod(&other, 0o4755);
            fs::rename(&other, &tool).unwrap();
        }
    };
    restore_files(&captured, &in_place(&place), &swap).unwrap();
    assert_eq!(mode(&tool) & 0o7000, 0);
}

#[test]
fn rights_of_a_group_that_an_equal_entry_has_already_stay() {
    let place = Place::new();
    for (name, bits) in [("dir/file", 0o640), ("dir", 0o2770), ("open/file", 0o660)] {
        if !name.ends_with("dir") {
            write(place.source().join(name), name);
        }
        chown(place.source().join(name), Some(12345), Some(4321)).unwrap();
        chmod(place.source().join(name), bits);
    }
    chmod(place.source().parent().unwrap(), 0o755);
    let captured = place.capture();
    // The time of the folder is another, so that its facts are set.
    fs::remove_file(place.source().join("dir/file")).unwrap();
    let facts = |name: &str| {
        let facts = fs::metadata(place.source().join(name)).unwrap();
        (facts.uid(), facts.gid(), facts.mode() & 0o7777)
    };
    let report = as_user(12345, || restore(&captured, &in_place(&place))).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(facts("dir"), (12345, 4321, 0o2770));
    assert_eq!(facts("open/file"), (12345, 4321, 0o660));
    // A file that is made anew gets its group from the folder, and no right for it.
    assert_eq!(facts("dir/file"), (12345, 4321, 0o600));
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
}

#[test]
fn a_user_restores_below_a_folder_that_may_be_passed_and_not_listed() {
    let place = Place::new();
    write(place.source().join("file"), "before");
    write(place.source().join("below/file"), "below");
    for name in ["", "file", "below", "below/file"] {
        chown(place.source().join(name), Some(12345), Some(12345)).unwrap();
    }
    chmod(place.source().parent().unwrap(), 0o711);
    let captured = place.capture();
    fs::write(place.source().join("file"), "after, and longer").unwrap();
    fs::remove_file(place.source().join("below/file")).unwrap();
    let report = as_user(12345, || restore(&captured, &in_place(&place))).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(fs::read(place.source().join("file")).unwrap(), b"before");
    assert_eq!(
        fs::read(place.source().join("below/file")).unwrap(),
        b"below"
    );
}

#[test]
fn pipes_and_devices_keep_no_list_that_the_target_hands_down() {
    let place = Place::new();
    let nodes = [
        ("pipe", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
    ];
    for (name, kind, device) in nodes {
        let path = place.source().join(name);
        mknodat(CWD, &path, kind, Mode::RWXU, device).unwrap();
        chmod(&path, 0o660);
    }
    let captured = place.capture();
    // Folders that are made hand it down until they are finished.
    fs::create_dir(place.target()).unwrap();
    xattr::set(place.target(), "system.posix_acl_default", &acl(4321, 6)).unwrap();
    let mut options = place.options();
    options.privileged = true;
    restore_well(&captured, &options);
    for (name, ..) in nodes {
        let path = place.restored().join(name);
        assert_eq!(xattr::list(&path).unwrap().count(), 0, "{name}");
        assert_eq!(mode(&path), 0o660, "{name}");
    }
    let again = restore_well(&captured, &options);
    assert_eq!(
        again.count(Act::Unchanged),
        again.changes.len(),
        "{:?}",
        again.changes
    );
}

#[test]
fn delete_removes_nothing_from_a_folder_that_was_not_read_to_its_end() {
    let place = Place::new();
    write(place.source().join("torn/file"), "file");
    write(place.source().join("whole/file"), "file");
    let mut captured = place.capture();
    captured.report.skipped.push(Skipped {
        path: format!("/{}", place.item("torn")),
        reason: "moved while being read".into(),
    });
    write(place.source().join("torn/perhaps unread"), "kept");
    write(place.source().join("whole/extra"), "extra");
    let mut options = in_place(&place);
    options.delete = true;
    restore_well(&captured, &options);
    assert!(place.source().join("torn/perhaps unread").exists());
    assert!(!place.source().join("whole/extra").exists());
}
