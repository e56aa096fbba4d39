//! `keepstone stats`.

use super::help;
use super::world::World;

#[test]
fn help_of_stats() {
    insta::assert_snapshot!(help(&["stats"]), @r###"
    exit 0
    -- stdout
    Show how much space snapshots and the repository take

    Usage: keepstone stats [OPTIONS] [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these snapshots; otherwise all

    Options:
      -h, --help  Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone stats
      keepstone stats latest
      keepstone stats --host web1 --source postgres-app
    "###);
}

#[test]
fn sizes_add_up() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/hello.txt", "other\n");
    world.backup_at("2024-05-02 10:00", &["-H", "db2"]);
    insta::assert_snapshot!(world.run(&["stats"]), @r###"
    exit 0
    -- stdout
    2 snapshots hold SIZE
    stored when they were made: SIZE
    in the repository: SIZE in PACKS, SIZE of index
    "###);
    insta::assert_snapshot!(world.run(&["stats", "latest"]), @r###"
    exit 0
    -- stdout
    1 snapshot holds SIZE
    stored when they were made: SIZE
    in the repository: SIZE in PACKS, SIZE of index
    "###);
    let all = &world.json(&["stats"])[0];
    let one = &world.json(&["stats", "--host", "db2"])[0];
    assert_eq!(
        all["bytes"].as_u64(),
        one["bytes"].as_u64().map(|bytes| 2 * bytes)
    );
    let packs: u64 = world
        .packs()
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(all["pack_bytes"], packs);
}
