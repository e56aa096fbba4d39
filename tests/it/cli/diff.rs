//! `keepstone diff`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::help;
use super::world::World;

#[test]
fn help_of_diff() {
    insta::assert_snapshot!(help(&["diff"]), @r###"
    exit 0
    -- stdout
    Show what differs between two snapshots

    Usage: keepstone diff [OPTIONS] <SNAPSHOT[:PATH]> <SNAPSHOT[:PATH]>

    Arguments:
      <SNAPSHOT[:PATH]>  The earlier snapshot
      <SNAPSHOT[:PATH]>  The later snapshot

    Options:
          --metadata       Show entries of which only owner, mode or times differ
          --source <NAME>  Only this source; may be given several times
      -h, --help           Print help (see more with '--help')

    Examples:
      keepstone diff latest~1 latest
      keepstone diff --metadata 3fc2a9:/etc 77aa01:/etc
      keepstone diff --source postgres-app latest~24 latest

    Each line begins with + (added), - (removed), M (content), U (metadata) or T (kind).
    "###);
}

#[test]
fn what_differs_is_marked() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    world.write("data/hello.txt", "another\n");
    world.write("data/new/file.txt", "new\n");
    fs::remove_file(world.path("data/empty")).unwrap();
    fs::remove_file(world.path("data/sub/link")).unwrap();
    world.write("data/sub/link", "no longer a link\n");
    fs::set_permissions(
        world.path("data/sub/list.txt"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    world.backup(&["backup", "data", "command:printf x"]);
    insta::assert_snapshot!(world.run(&["diff", "latest~1", "latest"]), @r###"
    exit 0
    -- stdout
    - HOME/data/empty
    M HOME/data/hello.txt
    + HOME/data/new
    + HOME/data/new/file.txt
    T HOME/data/sub/link
    + command-printf/output
    3 added (SIZE), 1 removed (SIZE), 2 modified
    "###);
    insta::assert_snapshot!(world.run(&["diff", "latest~1", "latest", "--metadata", "--source", "files"]), @r###"
    exit 0
    -- stdout
    - HOME/data/empty
    M HOME/data/hello.txt
    + HOME/data/new
    + HOME/data/new/file.txt
    T HOME/data/sub/link
    U HOME/data/sub/list.txt
    2 added (SIZE), 1 removed (SIZE), 2 modified
    "###);
    let sub = world.text("data/sub");
    insta::assert_snapshot!(world.run(&["diff", &format!("latest~1:{sub}"), &format!("latest:{sub}")]), @r###"
    exit 0
    -- stdout
    T HOME/data/sub/link
    0 added (SIZE), 0 removed (SIZE), 1 modified
    "###);
    insta::assert_snapshot!(world.run(&["diff", "latest", "latest"]), @r###"
    exit 0
    -- stdout
    0 added (SIZE), 0 removed (SIZE), 0 modified
    "###);
}
