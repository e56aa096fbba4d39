//! `keepstone ls`.

use super::help;
use super::world::World;

#[test]
fn help_of_ls() {
    insta::assert_snapshot!(help(&["ls"]), @r###"
    exit 0
    -- stdout
    List what a snapshot holds

    Usage: keepstone ls [OPTIONS] [SNAPSHOT[:PATH]] [PATH]...

    Arguments:
      [SNAPSHOT[:PATH]]  The snapshot: an id or its first digits, latest, latest~N, or with :PATH only
                         that [default: latest]
      [PATH]...          Only these: /absolute/path or SOURCE/stream

    Options:
      -l, --long       Show mode, owner, size and time
          --recursive  Show what is in folders of the folders that were named
      -h, --help       Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone ls latest
      keepstone ls latest:/etc
      keepstone ls -l 3fc2a9 /etc/app postgres-app
      keepstone ls --source redis latest~1
    "###);
}

#[test]
fn what_a_snapshot_holds_is_listed() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database]);
    insta::assert_snapshot!(world.run(&["ls"]), @r###"
    exit 0
    -- stdout
    /tmp
    HOME
    HOME/data
    HOME/data/empty
    HOME/data/hello.txt
    HOME/data/sub
    HOME/data/sub/link
    HOME/data/sub/list.txt
    sqlite-app.db/app.db
    "###);
    let data = world.text("data");
    insta::assert_snapshot!(world.run(&["ls", &format!("latest:{data}")]), @r###"
    exit 0
    -- stdout
    HOME/data
    HOME/data/empty
    HOME/data/hello.txt
    HOME/data/sub
    "###);
    insta::assert_snapshot!(world.run(&["ls", &format!("latest:{data}"), "--recursive"]), @r###"
    exit 0
    -- stdout
    HOME/data
    HOME/data/empty
    HOME/data/hello.txt
    HOME/data/sub
    HOME/data/sub/link
    HOME/data/sub/list.txt
    "###);
    insta::assert_snapshot!(world.run(&["ls", "latest:sqlite-app.db"]), @r###"
    exit 0
    -- stdout
    sqlite-app.db/app.db
    "###);
    insta::assert_snapshot!(world.run(&["ls", "latest", &format!("{data}/absent")]), @r###"
    exit 1
    -- stderr
    error: the snapshot holds no HOME/data/absent
    "###);
    insta::assert_snapshot!(world.run(&["ls", "latest:redis"]), @r###"
    exit 1
    -- stderr
    error: the snapshot holds no source redis
    hint: It holds files, sqlite-app.db.
    "###);
    let lines = world.json(&[
        "ls",
        "--source",
        "files",
        "latest",
        &format!("{data}/hello.txt"),
    ]);
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["size"]),
        (&"file".into(), &6.into())
    );
}

#[test]
fn a_long_list_shows_mode_owner_size_and_time() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let list = world.ok(&["ls", "-l"]);
    let lines: Vec<_> = list
        .lines()
        .filter(|line| line.ends_with("hello.txt"))
        .collect();
    assert_eq!(lines.len(), 1, "{list}");
    assert!(
        lines[0].starts_with("file     0644 ") && lines[0].contains("6 B "),
        "{list}"
    );
}
