//! `keepstone find`.

use super::help;
use super::world::World;

#[test]
fn help_of_find() {
    insta::assert_snapshot!(help(&["find"]), @r###"
    exit 0
    -- stdout
    Search snapshots for names

    Usage: keepstone find [OPTIONS] <PATTERN>...

    Arguments:
      <PATTERN>...  Name or path with * and ?, matched as in .gitignore

    Options:
      -i, --ignore-case          Take capitals and small letters as the same
      -l, --long                 Show mode, owner, size and time
      -s, --snapshot <SNAPSHOT>  Search only this snapshot; may be given several times
      -h, --help                 Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone find nginx.conf
      keepstone find -i '*.ENV' '*.pem'
      keepstone find --snapshot latest --long /etc/passwd
    "###);
}

#[test]
fn names_are_found_in_every_snapshot_or_in_one() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &[]);
    world.write("data/sub/HELLO.TXT", "loud");
    let newest = world.backup_at("2024-05-02 10:00", &[]);
    insta::assert_snapshot!(world.run(&["find", "hello.txt"]), @r###"
    exit 0
    -- stdout
    ID1:HOME/data/hello.txt
    ID2:HOME/data/hello.txt
    "###);
    insta::assert_snapshot!(world.run(&["find", "-i", "hello.*", "--snapshot", &newest]), @r###"
    exit 0
    -- stdout
    ID1:HOME/data/hello.txt
    ID1:HOME/data/sub/HELLO.TXT
    "###);
    insta::assert_snapshot!(world.run(&["find", "nothing"]), @r###"
    exit 0
    "###);
    insta::assert_snapshot!(world.run(&["find", "[x"]), @r###"
    exit 2
    -- stderr
    error: [x: error parsing glob '[x': unclosed character class; missing ']'
    "###);
    let path = world.text("data/sub/list.txt");
    assert_eq!(world.json(&["find", &path]).len(), 2);
}

#[test]
fn a_long_list_shows_mode_owner_size_and_time() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let found = world.ok(&["find", "--long", "hello.txt"]);
    assert!(
        found.contains(" 0644 ") && found.contains("6 B "),
        "{found}"
    );
}
