//! `keepstone tag`.

use super::help;
use super::world::World;

#[test]
fn help_of_tag() {
    insta::assert_snapshot!(help(&["tag"]), @r###"
    exit 0
    -- stdout
    Change the tags of snapshots

    Usage: keepstone tag [OPTIONS] <--set <TAGS>|--add <TAGS>|--remove <TAGS>> [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these snapshots; otherwise all that pass the filters

    Options:
          --set <TAGS>     Replace all tags by these
          --add <TAGS>     Add these tags
          --remove <TAGS>  Remove these tags
      -h, --help           Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone tag --add pre-upgrade latest
      keepstone tag --remove pre-upgrade 3fc2a9 77aa01
      keepstone tag --set nightly,web --host web1

    A snapshot whose tags change gets a new id.
    "###);
}

#[test]
fn tags_change_and_the_snapshot_gets_a_new_id() {
    let world = World::filled();
    let first = world.backup_at("2024-05-01 10:00", &["--tag", "a"]);
    world.backup_at("2024-05-02 10:00", &["-H", "db2"]);
    insta::assert_snapshot!(world.run(&["tag", "--add", "b,c", "--remove", "a", &first]), @r###"
    exit 0
    -- stdout
    snapshot ID1 is now ID2: b, c
    "###);
    insta::assert_snapshot!(world.run(&["tag", "--set", "x", "--host", "db2"]), @r###"
    exit 0
    -- stdout
    snapshot ID1 is now ID2: x
    "###);
    insta::assert_snapshot!(world.run(&["tag", "--add", "x", "--host", "db2"]), @r###"
    exit 0
    -- stderr
    no snapshot's tags change
    "###);
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  b, c  SIZE  SIZE
    ID2  2024-05-02 10:00:00  db2  files  x  SIZE  SIZE
    2 snapshots, SIZE stored by them
    "###);
    assert_eq!(
        world.ok(&["dump", "latest~1", &world.text("data/hello.txt")]),
        "hello\n"
    );
    insta::assert_snapshot!(world.run(&["tag", "--add", "x", &first]), @r###"
    exit 1
    -- stderr
    error: no snapshot begins with ID1
    "###);
    world.ok(&["check"]);
}
