//! What the settings keep out of a capture.

use std::fs;

use keepstone_sources::files::{FilesSettings, FolderMark, Pattern};

use super::tree::{Place, capture, write};

const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";

fn make(place: &Place) {
    for name in [
        "app/config",
        "app/x.tmp",
        "app/node_modules/m/index.js",
        "app/sub/cache/data",
        "app/sub/keep.log",
        "app/sub/other.log",
        "B.JPG",
        "tagged/data",
        "false tag/data",
        "marked/data",
        "marked/below/data",
    ] {
        write(place.source().join(name), name);
    }
    write(place.source().join("tagged/CACHEDIR.TAG"), CACHE_TAG);
    write(
        place.source().join("false tag/CACHEDIR.TAG"),
        "Signature: no",
    );
    write(place.source().join("marked/.nobackup"), "");
    write(place.source().join("big"), vec![1; 5000]);
}

/// Checks which files are left out, of those that `make` makes.
#[track_caller]
fn check(set: impl Fn(&Place, &mut FilesSettings), left_out: &[&str]) {
    let place = Place::new();
    make(&place);
    let everything = place.capture();
    let mut settings = FilesSettings::new([place.source()]);
    set(&place, &mut settings);
    let captured = capture(settings);
    let missing: Vec<_> = everything
        .items
        .keys()
        .filter(|path| !captured.items.contains_key(path))
        .map(|path| path.to_string())
        .collect();
    let expected: Vec<_> = left_out
        .iter()
        .map(|name| place.item(name).to_string())
        .collect();
    assert_eq!(missing, expected);
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().copied().map(Pattern::new).collect()
}

#[test]
fn patterns_leave_out_what_they_match_and_what_is_in_it() {
    check(|_, _| {}, &[]);
    check(|_, s| s.exclude = patterns(&["*.tmp"]), &["app/x.tmp"]);
    check(
        |_, s| s.exclude = patterns(&["node_modules"]),
        &[
            "app/node_modules",
            "app/node_modules/m",
            "app/node_modules/m/index.js",
        ],
    );
    check(
        |_, s| s.exclude = patterns(&["sub/cache"]),
        &["app/sub/cache", "app/sub/cache/data"],
    );
    check(
        |_, s| s.exclude = patterns(&["*.log", "!keep.log"]),
        &["app/sub/other.log"],
    );
    check(|_, s| s.exclude = patterns(&["config/"]), &[]);
    check(|_, s| s.exclude = patterns(&["*.jpg"]), &[]);
    check(
        |_, s| s.exclude = vec![Pattern::ignoring_case("*.jpg")],
        &["B.JPG"],
    );
    check(
        |place, s| {
            let path = format!("/{}", place.item("app/config"));
            s.exclude = patterns(&[&path, "/app/x.tmp"]);
        },
        &["app/config"],
    );
    check(
        |place, s| {
            let list = place.outside().join("list");
            fs::write(&list, "# mine\n\n*.tmp\nsub/cache\n").unwrap();
            s.exclude_files = vec![(list, false)];
        },
        &["app/sub/cache", "app/sub/cache/data", "app/x.tmp"],
    );
}

#[test]
fn marked_folders_keep_only_their_mark() {
    check(
        |_, s| s.exclude_marked = vec![FolderMark::cachedir()],
        &["tagged/data"],
    );
    check(
        |_, s| s.exclude_marked = vec![FolderMark::parse(".nobackup")],
        &["marked/below", "marked/below/data", "marked/data"],
    );
    check(
        |_, s| s.exclude_marked = vec![FolderMark::parse(".nobackup:yes")],
        &[],
    );
}

#[test]
fn large_files_are_left_out() {
    check(|_, s| s.exclude_larger_than_bytes = Some(5000), &[]);
    check(|_, s| s.exclude_larger_than_bytes = Some(4999), &["big"]);
}

#[test]
fn other_file_systems_are_left_out_but_for_where_they_begin() {
    let place = Place::new();
    write(place.source().join("here"), "here");
    let mount = super::tree::Mount::tmpfs(&place.source().join("mounted"), "1m");
    write(mount.path().join("there"), "there");
    let mut settings = FilesSettings::new([place.source()]);
    assert!(
        capture(settings.clone())
            .items
            .contains_key(&place.item("mounted/there"))
    );
    settings.one_file_system = true;
    let captured = capture(settings);
    assert!(captured.items.contains_key(&place.item("mounted")));
    assert!(!captured.items.contains_key(&place.item("mounted/there")));
}

#[test]
fn roots_are_never_excluded_not_even_one_in_another() {
    let place = Place::new();
    make(&place);
    let mut settings = FilesSettings::new([place.source(), place.source().join("app/sub")]);
    settings.exclude = patterns(&["source", "sub"]);
    let captured = capture(settings);
    assert!(captured.items.contains_key(&place.item("app/config")));
    assert!(captured.items.contains_key(&place.item("app/sub/keep.log")));
    assert_eq!(captured.report.warnings, Vec::<String>::new());
}
