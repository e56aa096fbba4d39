//! `keepstone undelete`.

use std::fs;

use super::help;
use super::world::World;

#[test]
fn help_of_undelete() {
    insta::assert_snapshot!(help(&["undelete"]), @r###"
    exit 0
    -- stdout
    Bring a forgotten snapshot back, while its data is there

    Usage: keepstone undelete [OPTIONS] <ID>...

    Arguments:
      <ID>...  The forgotten snapshot: its id or the first digits of it

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone snapshots --forgotten
      keepstone undelete 3fc2a9

    The snapshot comes back under a new id. Once prune has removed data that it needs, it cannot.
    "###);
}

#[test]
fn a_forgotten_snapshot_comes_back_until_its_data_is_swept() {
    let world = World::filled();
    let id = world.backup_at("2024-05-01 10:00", &["--tag", "kept"]);
    fs::remove_dir_all(world.path("data")).unwrap();
    world.write("data/other.txt", "other\n");
    world.backup_at("2024-05-02 10:00", &[]);
    world.ok(&["forget", &id]);
    insta::assert_snapshot!(world.run(&["snapshots", "--forgotten"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  kept  SIZE  SIZE
    1 snapshot, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["undelete", &id[..10]]), @r###"
    exit 0
    -- stdout
    snapshot ID1 is back as ID2
    "###);
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  kept  SIZE  SIZE
    ID2  2024-05-02 10:00:00  web1  files  SIZE  SIZE
    2 snapshots, SIZE stored by them
    "###);
    let back = world.snapshots()[0].clone();
    assert_eq!(
        world.ok(&["dump", &back, &world.text("data/hello.txt")]),
        "hello\n"
    );
    world.ok(&["forget", &back, "--prune"]);
    insta::assert_snapshot!(world.run(&["undelete", &back]), @r###"
    exit 1
    -- stderr
    error: snapshot ID1 cannot be brought back: part of it has been pruned
    "###);
    insta::assert_snapshot!(world.run(&["undelete", "ffff"]), @r###"
    exit 1
    -- stderr
    error: no forgotten snapshot begins with ffff
    "###);
    world.ok(&["check", "--read-data"]);
}
