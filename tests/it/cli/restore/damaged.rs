//! Restoring from a repository of which something is damaged: all else comes back, what is hit is named.

use std::fs;
use std::path::PathBuf;

use crate::cli::world::World;

#[test]
fn what_is_damaged_is_left_out_and_all_else_is_restored() {
    let world = World::new();
    let names = ["a.txt", "b.txt", "c.txt", "d.txt"];
    for (turn, name) in (1_u64..).zip(names) {
        // Knuth's multiplier: no two lines alike, so that each file has a segment of its own.
        let lines =
            (0..60_000_u64).map(|line| (turn << 32 | line).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let text: String = lines.map(|number| format!("{number:016x}\n")).collect();
        world.write(&format!("data/{name}"), &text);
    }
    world.backup(&["backup", "data"]);
    let packs = world.packs().into_iter();
    let pack = packs.max_by_key(|path| fs::metadata(path).unwrap().len());
    let pack = pack.unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).unwrap();
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
    let metadata = |world: &World| -> Vec<PathBuf> {
        let packs = world.packs().into_iter();
        let is_metadata = |path: &PathBuf| path.to_str().unwrap().ends_with("-m");
        packs.filter(is_metadata).collect()
    };
    let [first] = metadata(&world).try_into().unwrap();
    world.write("data/other/second.txt", "second\n");
    world.backup(&["backup", "data"]);
    // The folders that did not change are in the first pack only.
    let mut bytes = fs::read(&first).unwrap();
    bytes[200] ^= 1;
    fs::write(&first, bytes).unwrap();
    let restored = format!("out{}/data", world.home().display());
    world.write(&format!("{restored}/sub/extra.txt"), "extra\n");
    world.write(&format!("{restored}/other/extra.txt"), "extra\n");
    let target = world.text("out");
    let arguments = [
        "restore", "latest", "--target", &target, "--delete", "--force",
    ];
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
    // Nobody knows what was in the one folder, and so nothing there is extra.
    assert!(is_there("sub/extra.txt"), "{said}");
    assert!(!is_there("other/extra.txt"), "{said}");
}
