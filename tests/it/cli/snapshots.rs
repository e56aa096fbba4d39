//! `keepstone snapshots`.

use super::help;
use super::world::World;

#[test]
fn help_of_snapshots() {
    insta::assert_snapshot!(help(&["snapshots"]), @r###"
    exit 0
    -- stdout
    List snapshots

    Usage: keepstone snapshots [OPTIONS] [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these: an id or its first digits, latest, latest~N

    Options:
          --latest <N>        Only the newest N of each group
      -g, --group-by <GROUP>  Show groups: host, set, tags, separated by commas
          --forgotten         Show forgotten ones that can still be brought back
      -h, --help              Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone snapshots
      keepstone snapshots --host web1 --tag nightly --latest 5
      keepstone snapshots latest~2
      keepstone snapshots --json
    "###);
}

fn several() -> World {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &["--tag", "nightly"]);
    world.backup_at("2024-05-02 10:00", &["-H", "db2"]);
    world.backup_at("2024-05-03 10:00", &["--tag", "nightly,kept"]);
    world.backup(&["backup", "command:printf x", "--time", "2024-05-04 10:00"]);
    world
}

#[test]
fn snapshots_are_listed_oldest_first_with_what_they_cost() {
    insta::assert_snapshot!(World::new().run(&["snapshots"]), @r###"
    exit 0
    -- stderr
    no snapshots
    "###);
    let world = several();
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files  nightly  SIZE  SIZE
    ID2  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    ID3  2024-05-03 10:00:00  web1  files  kept, nightly  SIZE  SIZE
    ID4  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    4 snapshots, SIZE stored by them
    "###);
}

#[test]
fn filters_and_names_choose() {
    let world = several();
    insta::assert_snapshot!(world.run(&["snapshots", "--host", "db2"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    1 snapshot, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--tag", "kept,nightly"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-03 10:00:00  web1  files  kept, nightly  SIZE  SIZE
    1 snapshot, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--source", "command-printf"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    1 snapshot, SIZE stored by them
    "###);
    let ids = world.snapshots();
    insta::assert_snapshot!(world.run(&["snapshots", &ids[1][..9], "latest"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    ID2  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    2 snapshots, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "latest~4"]), @r###"
    exit 1
    -- stderr
    error: latest~4 goes back too far: 4 complete snapshots fit
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--host", "nobody"]), @r###"
    exit 0
    -- stderr
    no snapshots
    "###);
}

#[test]
fn the_newest_of_each_group_are_shown_under_its_name() {
    let world = several();
    insta::assert_snapshot!(world.run(&["snapshots", "--latest", "1"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    ID2  2024-05-03 10:00:00  web1  files  kept, nightly  SIZE  SIZE
    ID3  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    3 snapshots, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--group-by", "host"]), @r###"
    exit 0
    -- stdout
    host db2:
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    1 snapshot, SIZE stored by them

    host web1:
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID2  2024-05-01 10:00:00  web1  files  nightly  SIZE  SIZE
    ID3  2024-05-03 10:00:00  web1  files  kept, nightly  SIZE  SIZE
    ID4  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    3 snapshots, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--group-by", "host", "--latest", "1"]), @r###"
    exit 0
    -- stdout
    host db2:
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-02 10:00:00  db2  files  SIZE  SIZE
    1 snapshot, SIZE stored by them

    host web1:
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID2  2024-05-04 10:00:00  web1  command-printf  SIZE  SIZE
    1 snapshot, SIZE stored by them
    "###);
    insta::assert_snapshot!(world.run(&["snapshots", "--group-by", "colour"]), @r###"
    exit 2
    -- stderr
    error: invalid value 'colour' for '--group-by <GROUP>': group by host, set or tags, separated by commas

    For more information, try '--help'.
    "###);
}
