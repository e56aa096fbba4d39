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
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    error: box 1 of packs/ID2.ID3-d is damaged: box: does not authenticate at byte 0
    hint: Run keepstone check --read-data: it names what is damaged and which snapshots stand on it.
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
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    error: packs/ID2.ID3-d is missing
    hint: Run keepstone check --read-data: it names what is damaged and which snapshots stand on it.
    "###);
}
