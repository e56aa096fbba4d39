//! What this machine remembers of a repository: a snapshot that it could not remember is saved all the same, and a folder
//! has one memory, wherever it is named from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::failures::{run_on_a_small_disk, unprivileged};
use super::world::{World, of_type};

/// Counter, id and the hash of the snapshot before, of all snapshots and forgotten ones, by counter.
fn chain(world: &World) -> Vec<(u64, String, Option<String>)> {
    let mut lines = world.json(&["snapshots"]);
    lines.extend(world.json(&["snapshots", "--forgotten"]));
    let mut chain: Vec<_> = of_type(&lines, "snapshot")
        .iter()
        .map(|snapshot| {
            let counter = snapshot["counter"].as_u64().unwrap();
            let id = snapshot["id"].as_str().unwrap().to_owned();
            let previous = snapshot["previous"].as_str().map(str::to_owned);
            (counter, id, previous)
        })
        .collect();
    chain.sort();
    chain
}

/// Every snapshot has a counter of its own, and names the one before by its hash.
fn assert_chained(world: &World, snapshots: usize) {
    let chain = chain(world);
    let counters: Vec<_> = chain.iter().map(|(counter, ..)| *counter).collect();
    assert_eq!(counters, (0..snapshots as u64).collect::<Vec<_>>());
    for pair in chain.windows(2) {
        let end = fs::read(world.path("repo/end").join(&pair[0].1)).unwrap();
        let hash = blake3::hash(&end).to_hex().to_string();
        assert_eq!(pair[1].2.as_ref(), Some(&hash), "{}", pair[1].1);
    }
    world.ok(&["check"]);
}

#[test]
fn what_a_full_state_folder_cannot_remember_is_saved_and_said() {
    let world = World::filled();
    let script = "export KEEPSTONE_STATE_DIR=$PWD/small/state\nk backup data -q | tail -n 2\n\
                  head -c 2000000 /dev/zero > small/rest 2>/dev/null\nk backup data -q | tail -n 2\n\
                  k tag latest --add x\nk tag latest --add y -q\nk forget latest -q\n\
                  rm small/rest\nk undelete $(\"$KEEPSTONE\" snapshots --forgotten -q | tail -n 2 | cut -c 1-8 | head -n 1) -q | tail -n 1\n\
                  k backup data -q | tail -n 2\n";
    let said = run_on_a_small_disk(&world, &world.command(&[]), "100k", script);
    insta::assert_snapshot!(said, @r###"
    snapshot ID1 saved, SIZE stored
    exit 0
    snapshot ID2 saved, SIZE stored
    exit 0
    snapshot ID2 is now ID3: x
    exit 0
    snapshot ID3 is now ID4: x, y
    exit 0
            ID  Time  Host  Why
    forget  ID4  TIME  web1
    1 snapshot forgotten
    exit 0
    exit 0
    snapshot ID5 saved, SIZE stored
    exit 0
    -- stderr
    warning: the snapshot is saved, but this machine cannot remember it: cannot write HOME/small/state/repositories/ID6/history: No space left on device (os error 28)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID7: No space left on device (os error 28) (Free some space there and run it again.)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID7: No space left on device (os error 28) (Free some space there and run it again.)
    warning: the snapshot is saved, but this machine cannot remember it: cannot write HOME/small/state/repositories/ID6/history: No space left on device (os error 28)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID7: No space left on device (os error 28) (Free some space there and run it again.)
    warning: the snapshot is saved, but this machine cannot remember it: cannot write HOME/small/state/repositories/ID6/history: No space left on device (os error 28)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID7: No space left on device (os error 28) (Free some space there and run it again.)
    "###);
    assert_chained(&world, 6);
}

#[test]
fn a_run_that_was_killed_before_it_could_remember_is_found_by_the_next() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let state = world.path("state/keepstone/repositories");
    let folder = fs::read_dir(state).unwrap().next().unwrap().unwrap();
    let history = folder.path().join("history");
    let before = fs::read(&history).unwrap();
    world.backup(&["backup", "data"]);
    fs::write(&history, before).unwrap();
    world.backup(&["backup", "data"]);
    assert_chained(&world, 3);
}

#[test]
fn a_tag_whose_old_snapshot_cannot_be_forgotten_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let forgotten = world.path("repo/forgotten");
    fs::create_dir_all(&forgotten).unwrap();
    let mode = |mode| fs::set_permissions(&forgotten, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    let run = |arguments: &[&str]| {
        let mut command = unprivileged(&world.command(arguments));
        world.transcript(&mut command)
    };
    insta::assert_snapshot!(run(&["tag", "latest", "--add", "x"]), @r###"
    exit 3
    -- stdout
    snapshot ID1 is now ID2: x
    -- stderr
    warning: snapshot ID1 is not forgotten: cannot write forgotten/ID1: access is denied: Permission denied (os error 13) (Check that this user may read and write there.)
    "###);
    insta::assert_snapshot!(run(&["forget", "latest"]), @r###"
    exit 3
    -- stdout
            ID  Time  Host  Why
    forget  ID1  TIME  web1
    0 snapshots forgotten
    -- stderr
    warning: snapshot ID1 is not forgotten: cannot write forgotten/ID1: access is denied: Permission denied (os error 13) (Check that this user may read and write there.)
    "###);
    mode(0o700);
    assert_eq!(world.snapshots().len(), 2);
}

/// The files of a folder and their content.
fn files(folder: &Path, found: &mut BTreeMap<std::path::PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

#[test]
fn a_relative_address_means_another_folder_elsewhere_and_the_same_one_here() {
    let world = World::filled();
    let at = |folder: &str, repo: &str, arguments: &[&str]| {
        fs::create_dir_all(world.path(folder)).unwrap();
        let mut command = world.command(arguments);
        command
            .current_dir(world.path(folder))
            .env("KEEPSTONE_REPOSITORY", repo);
        world.transcript(&mut command)
    };
    for folder in ["h1", "h2"] {
        let made = at(folder, "rel", &["init", "-q"]);
        assert!(made.starts_with("exit 0"), "{made}");
    }
    for folder in ["h1", "h2"] {
        let seen = at(folder, "rel", &["snapshots"]);
        assert!(seen.starts_with("exit 0"), "{seen}");
    }
    // A roll-back is seen by whatever name.
    let mut before = BTreeMap::new();
    files(&world.path("h1/rel"), &mut before);
    let saved = at("h1", "rel", &["backup", &world.text("data"), "-q"]);
    assert!(saved.starts_with("exit 0"), "{saved}");
    fs::remove_dir_all(world.path("h1/rel")).unwrap();
    for (path, content) in &before {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for (folder, repo) in [
        ("h1", "rel"),
        ("h1", "./rel/"),
        ("h2", "../h1/rel"),
        (".", &world.text("h1/rel")),
    ] {
        let seen = at(folder, repo, &["snapshots"]);
        assert!(seen.starts_with("exit 21"), "{folder} {repo}: {seen}");
    }
}
