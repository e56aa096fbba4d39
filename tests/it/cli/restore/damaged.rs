//! Restoring from a repository of which something is damaged: all else comes back, what is hit is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::world::World;

/// Writes some files, of which one can be damaged without the others.
fn large_files(world: &World) -> [&'static str; 4] {
    let names = ["a.txt", "b.txt", "c.txt", "d.txt"];
    for (turn, name) in (1_u64..).zip(names) {
        world.write(&format!("data/{name}"), &large(turn));
    }
    names
}

/// Text of which no two lines are alike, so that it has a segment of its own.
fn large(turn: u64) -> String {
    // Knuth's multiplier.
    let lines = (0..60_000_u64).map(|line| (turn << 32 | line).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    lines.map(|number| format!("{number:016x}\n")).collect()
}

/// Changes a byte of the pack that holds the most content.
fn damage_content(world: &World) {
    flip(&world.packs()[0], 1000);
}

fn flip(pack: &Path, at: usize) {
    let mut bytes = fs::read(pack).unwrap();
    bytes[at] ^= 1;
    fs::write(pack, bytes).unwrap();
}

/// The packs of folders and records.
fn metadata_packs(world: &World) -> Vec<PathBuf> {
    let packs = world.packs().into_iter();
    let is_metadata = |path: &PathBuf| path.to_str().unwrap().ends_with("-m");
    packs.filter(is_metadata).collect()
}

#[test]
fn what_is_damaged_is_left_out_and_all_else_is_restored() {
    let world = World::new();
    let names = large_files(&world);
    world.backup(&["backup", "data"]);
    damage_content(&world);
    let restored = format!("out{}/data", world.home().display());
    for name in names {
        world.write(&format!("{restored}/{name}"), "from before\n");
    }
    let said = world.run(&[
        "restore",
        "latest",
        "--target",
        &world.text("out"),
        "--force",
    ]);
    assert!(said.starts_with("exit 20\n"), "{said}");
    assert!(
        said.contains("what is damaged was left out. Run keepstone check --read-data"),
        "{said}"
    );
    let read =
        |folder: &str, name: &str| fs::read_to_string(world.path(folder).join(name)).unwrap();
    let is_hit = |name: &&str| said.contains(&format!("warning: HOME/outHOME/data/{name}: box "));
    let (hit, sound): (Vec<_>, Vec<_>) = names.into_iter().partition(is_hit);
    assert!(!hit.is_empty() && sound.len() >= 2, "{said}");
    for name in sound {
        assert!(read(&restored, name) == read("data", name), "{name}");
    }
    // What was there stays, and nothing half made lies beside it.
    for name in hit {
        assert_eq!(read(&restored, name), "from before\n");
    }
    let left = fs::read_dir(world.path(&restored)).unwrap().count();
    assert_eq!(left, names.len());
}

#[test]
fn a_damaged_folder_keeps_nobody_from_the_others() {
    let world = World::filled();
    world.write("data/sub/kept/deep.txt", "deep\n");
    world.write("data/other/first.txt", "first\n");
    world.backup(&["backup", "data"]);
    let [first] = metadata_packs(&world).try_into().unwrap();
    world.write("data/other/second.txt", "second\n");
    world.backup(&["backup", "data"]);
    // The folders that did not change are in the first pack only.
    flip(&first, 200);
    let restored = format!("out{}/data", world.home().display());
    world.write(&format!("{restored}/sub/extra.txt"), "extra\n");
    world.write(&format!("{restored}/other/extra.txt"), "extra\n");
    let target = world.text("out");
    let arguments = [
        "restore", "latest", "--target", &target, "--delete", "--force",
    ];
    let planned = world.run(&[&arguments[..], &["--dry-run"]].concat());
    assert!(planned.starts_with("exit 20\n"), "{planned}");
    assert!(
        planned.contains("what is damaged would be left out. Run keepstone check"),
        "{planned}"
    );
    let said = world.run(&arguments);
    assert!(said.starts_with("exit 20\n"), "{said}");
    assert!(
        said.contains("warning: HOME/outHOME/data/sub: nothing in it is restored: "),
        "{said}"
    );
    assert!(said.contains("what is damaged was left out."), "{said}");
    let is_there = |path: &str| world.path(&format!("{restored}/{path}")).exists();
    for path in ["other/first.txt", "other/second.txt", "sub"] {
        assert!(is_there(path), "{path}");
    }
    assert!(!is_there("sub/list.txt") && !is_there("sub/kept"), "{said}");
    // Nobody knows what was in the one folder, and so nothing there is extra, nor anywhere else: it may have moved.
    assert!(is_there("sub/extra.txt"), "{said}");
    assert!(is_there("other/extra.txt"), "{said}");
}

#[test]
fn what_is_in_the_way_of_a_name_whose_file_is_damaged_stays() {
    let world = World::new();
    world.write("data/A/File.txt", &large(1));
    fs::create_dir(world.path("data/z")).unwrap();
    fs::hard_link(world.path("data/A/File.txt"), world.path("data/z/link")).unwrap();
    world.backup(&["backup", "data"]);
    damage_content(&world);
    let restored = format!("out{}/data", world.home().display());
    let precious = ["A/File.txt/precious", "z/link/precious"];
    for name in precious {
        world.write(&format!("{restored}/{name}"), "from before\n");
    }
    let target = world.text("out");
    let arguments = [
        "restore", "latest", "--target", &target, "--delete", "--force",
    ];
    let said = world.run(&arguments);
    assert!(said.starts_with("exit 20\n"), "{said}");
    for name in precious {
        let kept = fs::read_to_string(world.path(&restored).join(name)).ok();
        assert_eq!(kept.as_deref(), Some("from before\n"), "{name}: {said}");
    }
    // Paths are told as they are.
    assert!(
        said.contains("warning: HOME/outHOME/data/z/link: its first name ")
            && said.contains("/data/A/File.txt was not restored"),
        "{said}"
    );
}

#[test]
fn a_name_of_a_file_in_a_damaged_folder_keeps_nobody_from_the_others() {
    let world = World::new();
    world.write("data/a/file", "two names\n");
    world.write("aside/own.txt", "its own\n");
    fs::hard_link(world.path("data/a/file"), world.path("aside/link")).unwrap();
    world.backup(&["backup", "data"]);
    let [first] = metadata_packs(&world).try_into().unwrap();
    // The folder of the first name does not change, and is in the first pack only.
    fs::rename(world.path("aside"), world.path("data/z")).unwrap();
    world.backup(&["backup", "data"]);
    flip(&first, 200);
    let home = world.home().display();
    for (reference, out) in [
        ("latest".to_owned(), "out"),
        (format!("latest:{home}/data/z"), "part"),
    ] {
        let restored = format!("{out}{home}/data/z");
        world.write(&format!("{restored}/link"), "from before\n");
        let target = world.text(out);
        let arguments = [
            "restore", &reference, "--target", &target, "--delete", "--force",
        ];
        let said = world.run(&arguments);
        assert!(said.starts_with("exit 20\n"), "{said}");
        assert!(
            said.contains(&format!(
                "warning: HOME/{out}HOME/data/z/link: is a hard link to "
            )),
            "{said}"
        );
        assert!(said.contains("what is damaged was left out."), "{said}");
        let read = |name: &str| fs::read_to_string(world.path(&restored).join(name)).ok();
        assert_eq!(read("own.txt").as_deref(), Some("its own\n"), "{said}");
        assert_eq!(read("link").as_deref(), Some("from before\n"), "{said}");
    }
}

#[test]
fn a_damaged_file_that_cannot_be_compared_is_left_as_it_is() {
    let world = World::new();
    let names = large_files(&world);
    world.backup(&["backup", "data"]);
    let target = world.text("out");
    world.ok(&["restore", "latest", "--target", &target]);
    damage_content(&world);
    let restored = world.path(&format!("out{}/data", world.home().display()));
    fs::remove_file(restored.join("d.txt")).unwrap();
    let arguments = [
        "restore", "latest", "--target", &target, "--verify", "--force",
    ];
    let said = world.run(&arguments);
    assert!(said.starts_with("exit 20\n"), "{said}");
    assert!(said.contains("what is damaged was left out."), "{said}");
    let is_hit = |name: &str| said.contains(&format!("warning: HOME/outHOME/data/{name}: box "));
    assert!(names.into_iter().any(is_hit) && !is_hit("d.txt"), "{said}");
    for name in names {
        let found = fs::read_to_string(restored.join(name)).unwrap_or_default();
        assert!(
            found == fs::read_to_string(world.path("data").join(name)).unwrap(),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_file_that_does_not_read_back_stays_and_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.write("data/locked", "content");
    world.write("data/open", "content");
    let locked = world.path("data/locked");
    std::fs::set_permissions(locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    world.backup(&["backup", "data"]);
    let restore = world.command(&["restore", "latest", "--target", "out", "--verify"]);
    // Its mode keeps its owner from reading it, unless that is root.
    let said = world.transcript(&mut crate::cli::failures::unprivileged(&restore));
    insta::assert_snapshot!(said, @r###"
    exit 25
    -- stdout
    files: SIZE restored to out
    -- stderr
    snapshot ID1 of TIME, host web1
    warning: outHOME/data/locked: cannot be read back: permission denied
    warning: 1 entry not read back as written, and left in place: something else writes there, this user may not read it, or the disk fails
    "###);
    assert!(
        world
            .path("out")
            .join(&world.text("data/locked")[1..])
            .exists()
    );
}
