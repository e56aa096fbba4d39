//! What was captured comes back, entry by entry and fact by fact.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use keepstone_engine::source::NodeKind;
use keepstone_sources::files::Act;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::tree::{Place, acl, assert_same, bytes, chmod, mode, restore_well, set_mtime, write};

fn make_everything(root: &Path) {
    write(root.join("plain"), "hello");
    write(root.join("empty"), "");
    write(root.join("large"), vec![7; 3_000_001]);
    write(root.join("dir/inner/file"), "deep");
    write(root.join(bytes(b"n\xff\xfe name")), "not text");
    write(root.join(" space\nand line"), "odd");
    fs::create_dir(root.join("hollow")).unwrap();
    symlink("dir/inner/file", root.join("link")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    fs::hard_link(root.join("plain"), root.join("dir/plain too")).unwrap();
    fs::hard_link(root.join("plain"), root.join("zz plain")).unwrap();
    let node = |name, kind, device| {
        mknodat(
            CWD,
            root.join(name),
            kind,
            Mode::from_raw_mode(0o620),
            device,
        )
        .unwrap();
    };
    node("pipe", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("loop", FileType::BlockDevice, makedev(7, 200));
    sparse(&root.join("holes"));
    xattr::set(root.join("plain"), "user.note", b"remember").unwrap();
    xattr::set(root.join("plain"), "user.big", &[9; 2000]).unwrap();
    xattr::set(root.join("dir"), "user.note", b"folder").unwrap();
    xattr::set(root.join("link"), "trusted.note", b"link").ok();
    xattr::set(root.join("large"), "system.posix_acl_access", &acl(1234, 6)).unwrap();
    xattr::set(root.join("dir"), "system.posix_acl_default", &acl(1234, 7)).unwrap();
    chmod(root.join("plain"), 0o6751);
    chmod(root.join("empty"), 0);
    chmod(root.join("hollow"), 0o2500);
    std::os::unix::fs::chown(root.join("dir/inner"), Some(1234), Some(4321)).unwrap();
    std::os::unix::fs::chown(root.join("empty"), Some(1234), None).unwrap();
    std::os::unix::fs::lchown(root.join("dangling"), Some(1234), Some(5)).unwrap();
    for (name, seconds) in [
        ("plain", 1),
        ("link", 1_700_000_000),
        ("large", -5),
        ("dir/inner", 99),
    ] {
        set_mtime(root.join(name), seconds, 123_456_789);
    }
    set_mtime(root.join("dir"), 77, 1);
    set_mtime(root, 1_600_000_000, 999_999_999);
}

/// 8 MiB with two islands of data.
fn sparse(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::create(path).unwrap();
    file.set_len(8 << 20).unwrap();
    file.write_all_at(b"island", 1 << 20).unwrap();
    file.write_all_at(&[1; 10_000], 5 << 20).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_tree_with_everything_comes_back_exactly() {
    let place = Place::new();
    make_everything(&place.source());
    let captured = place.capture();
    let mut options = place.options();
    options.privileged = true;
    options.verify = true;
    options.sync = true;
    let report = restore_well(&captured, &options);
    assert_same(&place.source(), &place.restored());
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(report.count(Act::Create), report.changes.len());

    let again = restore_well(&captured, &options);
    assert_eq!(
        again.count(Act::Unchanged),
        again.changes.len(),
        "{:?}",
        again.changes
    );
    assert_eq!(again.written_bytes, 0);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn holes_stay_holes_on_the_way_in_and_out() {
    let place = Place::new();
    sparse(&place.source().join("holes"));
    write(place.source().join("zeros"), vec![0; 1 << 20]);
    let captured = place.capture();
    let content = captured.content(&place.item("holes").to_string());
    assert_eq!(content.len(), 8 << 20);
    assert_eq!(&content[1 << 20..(1 << 20) + 6], b"island");
    assert!(captured.items[&place.item("holes")].0.meta.sparse);

    restore_well(&captured, &place.options());
    let allocated = |name: &str| fs::metadata(place.restored().join(name)).unwrap().blocks() * 512;
    assert!(allocated("holes") < 1 << 20, "{}", allocated("holes"));
    assert!(allocated("zeros") >= 1 << 20, "{}", allocated("zeros"));
    assert_same(&place.source(), &place.restored());

    fs::remove_dir_all(place.target()).unwrap();
    let mut options = place.options();
    options.sparse = true;
    restore_well(&captured, &options);
    assert_eq!(allocated("zeros"), 0);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn sockets_are_recorded_and_named_but_not_made() {
    let place = Place::new();
    let _socket = UnixListener::bind(place.source().join("socket")).unwrap();
    let captured = place.capture();
    assert_eq!(
        captured.items[&place.item("socket")].0.kind,
        NodeKind::Socket
    );
    let report = restore_well(&captured, &place.options());
    assert!(!place.restored().join("socket").exists());
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("sockets left out: 1 (/") && note.ends_with("/socket)")),
        "{:?}",
        report.notes
    );
}

#[test]
fn without_leave_there_are_no_devices_and_no_special_bits() {
    let place = Place::new();
    make_everything(&place.source());
    let report = restore_well(&place.capture(), &place.options());
    let restored = place.restored();
    assert_eq!(mode(restored.join("plain")), 0o751);
    assert_eq!(
        mode(restored.join("hollow")),
        0o2500,
        "set-group-id of a folder is no privilege"
    );
    assert!(!restored.join("null").exists());
    assert!(!restored.join("loop").exists());
    assert!(restored.join("pipe").exists());
    let notes = report.notes.join("\n");
    assert!(
        notes.contains("set-user-id") && notes.contains("devices"),
        "{notes}"
    );
}

#[test]
fn a_single_file_and_several_roots_are_captured_with_the_folders_above_them() {
    let place = Place::new();
    for name in ["a/one", "a/two", "b/three", "c/four"] {
        write(place.source().join(name), name);
    }
    chmod(place.source().join("a"), 0o750);
    let roots = ["b", "a/two", "b/three"].map(|name| place.source().join(name));
    let captured = super::tree::capture(keepstone_sources::files::FilesSettings::new(roots));
    let below: Vec<_> = captured
        .items
        .keys()
        .filter(|path| path.starts_with(&place.item("")) && **path != place.item(""))
        .collect();
    assert_eq!(
        below,
        [
            &place.item("a"),
            &place.item("a/two"),
            &place.item("b"),
            &place.item("b/three")
        ]
    );
    restore_well(&captured, &place.options());
    assert_eq!(mode(place.restored().join("a")), 0o750);
    assert_eq!(fs::read(place.restored().join("a/two")).unwrap(), b"a/two");
}
