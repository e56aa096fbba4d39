//! `keepstone check`.

use std::fs;

use super::help;
use super::world::{World, of_type};

#[test]
fn help_of_check() {
    insta::assert_snapshot!(help(&["check"]), @r###"
    exit 0
    -- stdout
    Verify the repository

    Usage: keepstone check [OPTIONS]

    Options:
          --read-data                  Read and verify all content
          --read-data-subset <SUBSET>  Read and verify a part of the content: n/t, a percentage or a
                                       size
      -h, --help                       Print help (see more with '--help')

    Examples:
      keepstone check
      keepstone check --read-data
      keepstone check --read-data-subset 1/7    the first of seven parts; 2/7 on the next day
      keepstone check --read-data-subset 5%     so much, chosen at random
      keepstone check --read-data-subset 2G

    Without --read-data only structure is verified: that everything a snapshot needs is there.
    "###);
}

#[test]
fn a_sound_repository_has_no_problems() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database]);
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 0
    -- stdout
    1 snapshot in PACKS: no problems
    "###);
    insta::assert_snapshot!(world.run(&["check", "--read-data"]), @r###"
    exit 0
    -- stdout
    1 snapshot in PACKS: no problems
    "###);
    insta::assert_snapshot!(world.run(&["check", "--read-data-subset", "1/1"]), @r###"
    exit 0
    -- stdout
    1 snapshot in PACKS: no problems
    "###);
    let read = |subset: &str| {
        let lines = world.json(&["check", "--read-data-subset", subset]);
        of_type(&lines, "checked")[0]["packs_read"]
            .as_u64()
            .unwrap()
    };
    // Two packs: the parts read each of them once.
    assert_eq!(read("1/2") + read("2/2"), 2);
    assert!(read("100%") == 2 && read("1G") == 2);
}

#[test]
fn damage_is_named_with_every_snapshot_that_stands_on_it() {
    let world = World::filled();
    let first = world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/more.txt", "more\n");
    let second = world.backup_at("2024-05-02 10:00", &[]);
    world.write("data/sub/list.txt", "all new\n");
    fs::remove_file(world.path("data/hello.txt")).unwrap();
    world.backup_at("2024-05-03 10:00", &[]);
    // The data of the first run: hello.txt and list.txt, which the first two snapshots hold.
    let data = |id: &str| {
        let packs = world.packs().into_iter();
        let mut own = packs.filter(|path| path.to_string_lossy().contains(id));
        own.find(|path| path.to_string_lossy().ends_with("-d"))
            .unwrap()
    };
    let pack = data(&first);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 0
    -- stdout
    3 snapshots in PACKS: no problems
    "###);
    insta::assert_snapshot!(world.run(&["check", "--read-data"]), @r###"
    exit 20
    -- stdout
    packs/ID1.ID2-d: its outer hash is wrong: bytes have changed since it was written; 2 snapshots hit: ID1 at filesHOME/data/hello.txt, ID3 at filesHOME/data/hello.txt
    3 snapshots in PACKS: 1 problem
    "###);
    let output = world.output(&["check", "--read-data", "--json"]);
    let lines = super::world::objects(&String::from_utf8(output.stdout).unwrap());
    let mut hit: Vec<_> = of_type(&lines, "problem")
        .iter()
        .flat_map(|problem| problem["snapshots"].as_array().unwrap().clone())
        .filter_map(|hit| hit["id"].as_str().map(str::to_owned))
        .collect();
    hit.sort();
    hit.dedup();
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(hit, expected);
    // What is hit is not restored in silence, what is not is.
    let target = world.text("out");
    insta::assert_snapshot!(world.run(&["restore", "latest~1", "--target", &target]), @r###"
    exit 20
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    warning: HOME/outHOME/data/hello.txt: box 1 of packs/ID2.ID3-d is damaged: box: does not authenticate at byte 0
    warning: HOME/outHOME/data/sub/list.txt: box 1 of packs/ID2.ID3-d is damaged: box: does not authenticate at byte 0
    warning: what is damaged was left out. Run keepstone check --read-data: it names what is damaged and which snapshots stand on it.
    "###);
    assert_eq!(world.code(&["restore", "latest", "--target", &target]), 0);
    fs::remove_file(&pack).unwrap();
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 20
    -- stdout
    packs/ID1.ID2-d: is missing; 2 snapshots hit: ID1 at filesHOME/data/hello.txt, ID3 at filesHOME/data/hello.txt
    3 snapshots in PACKS: 1 problem
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest~1", "--target", &world.text("other")]), @r###"
    exit 20
    -- stdout
    files: SIZE restored to HOME/other
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    warning: HOME/otherHOME/data/hello.txt: packs/ID2.ID3-d is missing
    warning: HOME/otherHOME/data/sub/list.txt: packs/ID2.ID3-d is missing
    warning: what is damaged was left out. Run keepstone check --read-data: it names what is damaged and which snapshots stand on it.
    "###);
}

#[test]
fn a_record_that_does_not_open_keeps_nobody_from_the_other_snapshots() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/more.txt", "more\n");
    let second = world.backup_at("2024-05-02 10:00", &[]);
    world.write("data/sub/list.txt", "all new\n");
    world.backup_at("2024-05-03 10:00", &[]);
    flip(&world, "end", &second);
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  SIZE  SIZE
    ID2  2024-05-03 10:00:00  web1  files  SIZE  SIZE
    2 snapshots, SIZE stored by them
    -- stderr
    warning: end/ID3 is damaged: small record: does not authenticate at byte 0; snapshot ID3 is left out
    "###);
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 20
    -- stdout
    end/ID1: is damaged: small record: does not authenticate at byte 0; 1 snapshot hit: ID1 at the whole snapshot
    2 snapshots in PACKS: 1 problem
    "###);
    let target = world.text("out");
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &target]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    warning: end/ID1 is damaged: small record: does not authenticate at byte 0; snapshot ID1 is left out
    snapshot ID2 of 2024-05-03 10:00:00+00:00, host web1
    "###);
    let restored = fs::read_to_string(
        world
            .path("out")
            .join(world.text("data/sub/list.txt").trim_start_matches('/')),
    )
    .unwrap();
    assert_eq!(restored, "all new\n");
    // What it stands on is not known: nothing is pruned until it is given up.
    insta::assert_snapshot!(world.run(&["prune"]), @r###"
    exit 20
    -- stderr
    warning: end/ID1 is damaged: small record: does not authenticate at byte 0; snapshot ID1 is left out
    error: end/ID1 is damaged: small record: does not authenticate at byte 0
    hint: If no copy of it can be put back, keepstone forget gives that snapshot up, and the others go on.
    "###);
    world.backup_at("2024-05-04 10:00", &[]);
    insta::assert_snapshot!(world.run(&["forget", &second, "--prune"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    forget  ID1  unreadable
    1 snapshot forgotten
    PACKS (SIZE) removed, SIZE written anew
    -- stderr
    warning: end/ID1 is damaged: small record: does not authenticate at byte 0; snapshot ID1 is left out
    "###);
    insta::assert_snapshot!(world.run(&["check", "--read-data"]), @r###"
    exit 0
    -- stdout
    3 snapshots in PACKS: no problems
    "###);
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  SIZE  SIZE
    ID2  2024-05-03 10:00:00  web1  files  SIZE  SIZE
    ID3  2024-05-04 10:00:00  web1  files  SIZE  SIZE
    3 snapshots, SIZE stored by them
    "###);
}

#[test]
fn a_settled_list_that_does_not_open_stops_no_restore() {
    let world = World::filled();
    let first = world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/more.txt", "more\n");
    world.backup_at("2024-05-02 10:00", &[]);
    assert_eq!(world.code(&["forget", &first, "--prune"]), 0);
    fs::create_dir_all(world.path("repo/settled")).unwrap();
    let name = "0123456789abcdef0123456789abcdef";
    fs::write(world.path("repo/settled").join(name), "no record").unwrap();
    let target = world.text("out");
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &target]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    warning: settled/ID1 is damaged: small record: does not begin with the magic bytes of a Keepstone file at byte 4; forgotten snapshots may be listed
    snapshot ID2 of 2024-05-02 10:00:00+00:00, host web1
    "###);
    insta::assert_snapshot!(world.run(&["prune"]), @r###"
    exit 20
    -- stderr
    warning: settled/ID1 is damaged: small record: does not begin with the magic bytes of a Keepstone file at byte 4; forgotten snapshots may be listed
    error: settled/ID1 is damaged: small record: does not begin with the magic bytes of a Keepstone file at byte 4
    hint: No snapshot stands on it. Delete that object while no backup and no prune runs.
    "###);
    fs::remove_file(world.path("repo/settled").join(name)).unwrap();
    assert_eq!(world.code(&["prune"]), 0);
    assert_eq!(world.code(&["check"]), 0);
}

#[test]
fn records_that_are_all_gone_are_named_and_the_rest_is_checked() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &[]);
    fs::remove_dir_all(world.path("repo/end")).unwrap();
    let pack = world.packs().swap_remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[100] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 20
    -- stdout
    end/: every record of a snapshot in end/ is missing; 1 snapshot hit: all at every path
    0 snapshots in PACKS: 1 problem
    "###);
    insta::assert_snapshot!(world.run(&["check", "--read-data"]), @r###"
    exit 20
    -- stdout
    end/: every record of a snapshot in end/ is missing; 1 snapshot hit: all at every path
    packs/ID1.ID2-d: its outer hash is wrong: bytes have changed since it was written (no snapshot stands on it)
    0 snapshots in PACKS: 2 problems
    "###);
}

/// Changes a byte in the middle of an object.
fn flip(world: &World, folder: &str, name: &str) {
    let path = world.path("repo").join(folder).join(name);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
}
