//! Files: what is left out, and what of it comes back.

use std::fs;

use super::Home;

const FILES: [&str; 12] = [
    "tree/keep/a.txt",
    "tree/keep/b.tmp",
    "tree/keep/C.BAK",
    "tree/log/old.gz",
    "tree/Log2/LISTED.ISO",
    "tree/cache/CACHEDIR.TAG",
    "tree/cache/blob",
    "tree/scratch/.nobackup",
    "tree/scratch/data",
    "tree/big",
    "tree/small",
    "lists/patterns",
];

/// A tree in which every way to leave something out has something to do.
fn tree() -> Home {
    let home = Home::new();
    for name in FILES {
        let path = home.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n";
    fs::write(home.path("tree/cache/CACHEDIR.TAG"), tag).unwrap();
    fs::write(home.path("tree/big"), [0; 2000]).unwrap();
    fs::write(home.path("lists/patterns"), "# a comment\nlog/*.gz\n\n").unwrap();
    fs::write(home.path("lists/any-case"), "*.iso\n").unwrap();
    home
}

/// What the newest snapshot holds of the tree.
fn saved(home: &Home) -> Vec<String> {
    let target = home.text("restored");
    home.ok(&[
        "restore", "latest", "--target", &target, "--force", "--delete",
    ]);
    let inside = format!("restored{}", home.text("tree"));
    let found = home.files_below(&inside);
    fs::remove_dir_all(target).unwrap();
    found
}

const LEFT: [&str; 4] = [
    "cache/CACHEDIR.TAG",
    "keep/a.txt",
    "scratch/.nobackup",
    "small",
];

#[test]
fn every_way_to_leave_files_out_works_on_the_command_line() {
    let home = tree();
    let (tree, lists) = (home.text("tree"), home.text("lists"));
    let backup = |flags: &[&str]| {
        home.ok(&[&["backup", &tree], flags].concat());
        saved(&home)
    };
    let all = backup(&[]);
    assert_eq!(all.len(), 11);
    let (patterns, any_case) = (format!("{lists}/patterns"), format!("{lists}/any-case"));
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--exclude", "*.tmp"], &["keep/b.tmp"]),
        (&["--iexclude", "*.bak"], &["keep/C.BAK"]),
        (&["--exclude-file", &patterns], &["log/old.gz"]),
        (&["--iexclude-file", &any_case], &["Log2/LISTED.ISO"]),
        (&["--exclude-caches"], &["cache/blob"]),
        (&["--exclude-if-present", ".nobackup"], &["scratch/data"]),
        (&["--exclude-larger-than", "1k"], &["big"]),
    ];
    for (flags, gone) in cases {
        let mut expected = all.clone();
        expected.retain(|name| !gone.contains(&name.as_str()));
        assert_eq!(backup(flags), expected, "{flags:?}");
    }
    let together: Vec<_> = cases
        .iter()
        .flat_map(|(flags, _)| *flags)
        .copied()
        .collect();
    assert_eq!(backup(&together), LEFT);
}

#[test]
fn the_configuration_says_the_same_and_flags_add_to_it() {
    let home = tree();
    let (tree, lists) = (home.text("tree"), home.text("lists"));
    home.configure(&format!(
        r#"
        [source.tree]
        url = "files:{tree}"
        exclude = ["*.tmp"]
        iexclude = "*.bak"
        exclude_file = "{lists}/patterns"
        iexclude_file = "{lists}/any-case"
        exclude_caches = true
        exclude_if_present = [".nobackup"]
        exclude_larger_than = "1k"
        one_file_system = true
        "#
    ));
    home.ok(&["backup", "--source", "tree"]);
    assert_eq!(saved(&home), LEFT);
    home.ok(&["backup", "--source", "tree", "--exclude", "small"]);
    assert_eq!(saved(&home), LEFT[..3]);
}

#[test]
fn other_file_systems_are_left_out_when_asked() {
    use std::os::unix::fs::MetadataExt as _;

    let home = tree();
    let place = tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm");
    fs::write(place.path().join("there"), "x").unwrap();
    let device = |path: &str| fs::metadata(path).unwrap().dev();
    assert_ne!(device("/dev"), device("/dev/shm"), "/dev/shm is mounted");
    // Everything else in there belongs to other tests and comes and goes.
    let mine = place
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let patterns = format!("/dev/*\n!/dev/shm\n/dev/shm/*\n!/dev/shm/{mine}\n");
    fs::write(home.path("lists/patterns"), patterns).unwrap();
    let list = home.text("lists/patterns");
    let holds = |flags: &[&str]| {
        home.ok(&[&["backup", "/dev", "--exclude-file", &list], flags].concat());
        home.ok(&["ls", "latest"]).contains("there")
    };
    assert!(holds(&[]));
    assert!(!holds(&["--one-file-system"]));
    assert!(!holds(&["-x"]));
}

#[test]
fn files_come_back_by_path_and_pattern() {
    let home = tree();
    let (tree, target) = (home.text("tree"), home.text("out"));
    home.ok(&["backup", &tree]);
    let restore = |snapshot: &str, flags: &[&str]| {
        home.ok(&[&["restore", snapshot, "--target", &target], flags].concat());
        let found = home.files_below("out");
        fs::remove_dir_all(&target).unwrap();
        let names = found
            .iter()
            .map(|path| path.rsplit('/').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        restore(&format!("latest:{tree}/keep"), &[]),
        ["C.BAK", "a.txt", "b.tmp"]
    );
    assert_eq!(
        restore(&format!("latest:{tree}/keep/a.txt"), &[]),
        ["a.txt"]
    );
    assert_eq!(
        restore("latest", &["--include", "*.tmp", "--include", "big"]),
        ["big", "b.tmp"]
    );
    assert_eq!(
        restore(&format!("latest:{tree}/keep"), &["--exclude", "*.tmp"]),
        ["C.BAK", "a.txt"]
    );
}
