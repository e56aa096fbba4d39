//! `keepstone restore`.

mod chosen;
mod damaged;
mod let_be;
mod live;
mod several;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::world::World;
use super::{help, home, run};

#[test]
fn help_of_restore() {
    insta::assert_snapshot!(help(&["restore"]), @r###"
    exit 0
    -- stdout
    Bring back what a snapshot holds

    Usage: keepstone restore [OPTIONS] [SNAPSHOT[:PATH]]

    Arguments:
      [SNAPSHOT[:PATH]]  The snapshot: an id or its first digits, latest, latest~N, or with :PATH only
                         that

    Options:
          --at <TIME>  The newest snapshot whose data is of this time or before it
      -n, --dry-run    Show what would change
          --force      Do not ask, and restore what was saved on another host
      -h, --help       Print help (see more with '--help')

    Where to:
      -t, --target <DIR>   Into this folder: files under their paths, the rest as their own tools read
                           it
          --to <NAME=URL>  A source into a live system; may be given several times
          --in-place       Every source to where it was saved from, according to keepstone.toml or the
                           snapshot

    Files:
      -i, --include <PATTERN>  Only what matches, as in .gitignore; may be given several times
      -e, --exclude <PATTERN>  All but what matches, as in .gitignore; may be given several times
          --delete             Remove what the snapshot does not hold from the folders that it does hold
          --verify             Read back and compare what was written
          --privileged         Restore setuid bits, devices and security attributes too

    Databases, with --to or --in-place:
          --database <DATABASE>    Only this database, by name (PostgreSQL) or number (Redis); may be
                                   given several times
          --schema <SCHEMA>        Only this schema, into a database of its own (PostgreSQL); may be
                                   given several times
          --table <TABLE>          Only this table: SCHEMA.TABLE into a database of its own
                                   (PostgreSQL), or TABLE, also into a database that lives on (SQLite);
                                   may be given several times
          --no-owner               Without owners, grants and roles (PostgreSQL)
          --key-pattern <PATTERN>  Only keys that match, with * and ?, beside the others (Redis); may be
                                   given several times
          --prefix <[OLD=]NEW>     Put NEW in front of every key, or in the place of OLD; keys without
                                   OLD stay out (Redis)
          --ttl <HOW>              What becomes of the time keys have to live (Redis) [default: keep]
                                   [possible values: keep, shift, drop]
          --functions              Replace the functions of the server too (Redis)
          --in-use                 Overwrite a database in place, in one transaction, that others have
                                   open (SQLite)

    Earlier restores:
          --list              List restores that can be undone or finished
          --resume <ID>       Finish a restore that was cut off
          --rollback <ID>     Undo a restore: bring back what it replaced
          --discard-old <ID>  Drop what a restore replaced; after that there is no way back

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone restore latest --target /tmp/restored
      keepstone restore latest:/etc/app --target /
      keepstone restore --at '2026-11-20 14:05' --target /tmp/then
      keepstone restore --at 3h --to app=postgres://localhost/app_copy
      keepstone restore --at 3h --in-place --dry-run
      keepstone restore --at 3h --in-place
      keepstone restore --at 3h --to db=sqlite:/var/lib/app.db --table notes
      keepstone restore --at 3h --to cache=redis://localhost --key-pattern 'user:7:*'
      keepstone restore --list
      keepstone restore --rollback 3fc2a9

    A restore into a live system is staged beside it, validated, then switched; what it replaced is kept
    until --discard-old, and --rollback brings it back. --at takes the newest snapshot whose data is of
    that time or before it, names it, and asks before it overwrites.
    "###);
}

#[test]
fn a_restore_that_does_not_say_what_or_where_is_refused() {
    let home = home();
    let ask = |arguments: &[&str]| {
        let arguments: Vec<_> = ["restore", "-r", "/srv/x"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(home.path(), &arguments)
    };
    insta::assert_snapshot!(ask(&["--target", "out"]), @r###"
    exit 2
    -- stderr
    error: no snapshot was named
    hint: Name one (latest, an id) or a time (--at 3h); keepstone snapshots lists them.
    "###);
    insta::assert_snapshot!(ask(&["latest"]), @r###"
    exit 2
    -- stderr
    error: no place to restore to was named
    hint: Give --target DIR, --to NAME=URL, or --in-place; --dry-run shows what would happen.
    "###);
    insta::assert_snapshot!(ask(&["latest", "--in-place", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: the argument '--in-place' cannot be used with '--target <DIR>'

    Usage: keepstone restore --repo <ADDRESS> --in-place <SNAPSHOT[:PATH]>

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(ask(&["newest", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: invalid value 'newest' for '[SNAPSHOT[:PATH]]': not a snapshot: give an id or its first digits, latest, or latest~N

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(ask(&["--at", "noon", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: --at noon: not a time: write 2026-11-20T14:05:00+01:00, "2026-11-20 14:05", 2026-11-20, or an age such as 3h or 2d
    "###);
    insta::assert_snapshot!(ask(&["latest", "--to", "db=postgres://u:hunter2@h/db"]), @r###"
    exit 2
    -- stderr
    error: the address postgres://h/db holds a password
    hint: Everyone on this machine can read a command line. Name a file or a command instead (?password_file=/path in the address; password_file or password_command under [source.NAME] in keepstone.toml), or use PGPASSWORD, ~/.pgpass or REDISCLI_AUTH.
    "###);
}

/// What a folder holds: paths with contents.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_symlink() {
                found.insert(
                    name,
                    format!("-> {}", fs::read_link(&path).unwrap().display()),
                );
            } else if kind.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
        }
    }
    found
}

/// What lies in DIR/abs/path for the folder `data`.
fn restored(world: &World, target: &str) -> BTreeMap<String, String> {
    let data = world.text("data");
    tree(&world.path(target).join(data.trim_start_matches('/')))
}

#[test]
fn a_folder_gets_files_under_their_paths_and_the_rest_in_the_form_of_its_tools() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database, "command:printf 'a %s' dump"]);
    let (out, dry) = (world.text("out"), world.text("dry"));
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &dry, "--dry-run"]), @r###"
    exit 0
    -- stdout
    create  HOME/dry/tmp
    create  HOME/dryHOME
    create  HOME/dryHOME/data
    create  HOME/dryHOME/data/empty
    create  HOME/dryHOME/data/hello.txt
    create  HOME/dryHOME/data/sub
    create  HOME/dryHOME/data/sub/link
    create  HOME/dryHOME/data/sub/list.txt
    dry run: 8 changes, 0 unchanged
    export  HOME/dry/sqlite-app.db
    export  HOME/dry/command-printf
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    assert!(!world.path("dry").exists());
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &out, "--verify"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    HOME/out/sqlite-app.db/app.db written
    sqlite-app.db: SIZE restored to HOME/out/sqlite-app.db
    HOME/out/command-printf/output written
    command-printf: SIZE restored to HOME/out/command-printf
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    assert_eq!(restored(&world, "out"), tree(&world.path("data")));
    assert_eq!(
        fs::read_to_string(world.path("out/command-printf/output")).unwrap(),
        "a dump"
    );
    assert_eq!(
        fs::read_dir(world.path("out/sqlite-app.db"))
            .unwrap()
            .count(),
        1
    );
    // The same again changes nothing, and needs no answer for files that are as they were.
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &out, "--source", "files"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &out]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: HOME/out/sqlite-app.db is not empty; files of the export would be overwritten. Go on? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &out, "--force"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    HOME/out/sqlite-app.db/app.db written
    sqlite-app.db: SIZE restored to HOME/out/sqlite-app.db
    HOME/out/command-printf/output written
    command-printf: SIZE restored to HOME/out/command-printf
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
}

#[test]
fn one_source_or_one_path_is_restored_alone() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database]);
    let sub = world.text("data/sub");
    world.ok(&[
        "restore",
        &format!("latest:{sub}"),
        "--target",
        &world.text("out"),
    ]);
    assert_eq!(
        restored(&world, "out").keys().collect::<Vec<_>>(),
        ["sub/link", "sub/list.txt"]
    );
    world.ok(&[
        "restore",
        "latest",
        "--source",
        "sqlite-app.db",
        "--target",
        &world.text("db"),
    ]);
    assert_eq!(tree(&world.path("db")).len(), 1);
    world.ok(&[
        "restore",
        "latest:sqlite-app.db",
        "--target",
        &world.text("db2"),
    ]);
    assert_eq!(tree(&world.path("db2")).len(), 1);
    insta::assert_snapshot!(world.run(&["restore", &format!("latest:{sub}/absent"), "--target", &world.text("no")]), @r###"
    exit 1
    -- stderr
    snapshot ID1 of TIME, host web1
    error: the snapshot holds no HOME/data/sub/absent
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest:redis", "--target", &world.text("no")]), @r###"
    exit 1
    -- stderr
    snapshot ID1 of TIME, host web1
    error: the snapshot holds no source redis
    hint: It holds files, sqlite-app.db.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--source", "redis", "--target", &world.text("no")]), @r###"
    exit 1
    -- stderr
    error: no complete snapshot fits the filters
    "###);
    assert!(!world.path("no").exists());
}

#[test]
fn patterns_choose_files() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let names = |target: &str, more: &[&str]| {
        let target_path = world.text(target);
        let mut arguments = vec!["restore", "latest", "--target", &target_path];
        arguments.extend(more);
        world.ok(&arguments);
        restored(&world, target).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(
        names("a", &["--include", "*.txt"]),
        ["hello.txt", "sub/list.txt"]
    );
    assert_eq!(names("b", &["--exclude", "sub"]), ["empty", "hello.txt"]);
    assert_eq!(names("c", &["-i", "sub", "-e", "*.txt"]), ["sub/link"]);
}

#[test]
fn what_would_be_overwritten_is_asked_for() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let data = tree(&world.path("data"));
    world.write("data/hello.txt", "newer\n");
    world.write("data/extra.txt", "extra\n");
    let here = format!("latest:{}", world.text("data"));
    insta::assert_snapshot!(world.run(&["restore", &here, "--target", "/", "--dry-run"]), @r###"
    exit 0
    -- stdout
    metadata  HOME/data
    overwrite  HOME/data/hello.txt
    dry run: 2 changes, 6 unchanged
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    insta::assert_snapshot!(world.run(&["restore", &here, "--target", "/"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: 1 entry in / would be overwritten or removed. Go on? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--delete"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: 2 entries in / would be overwritten or removed. Go on? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert_eq!(
        fs::read_to_string(world.path("data/hello.txt")).unwrap(),
        "newer\n"
    );
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--force"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to /
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    assert_eq!(tree(&world.path("data")).len(), data.len() + 1);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--delete", "--force"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to /
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
    assert_eq!(tree(&world.path("data")), data);
}

#[test]
fn an_export_goes_through_no_link() {
    let world = World::filled();
    world.backup(&["backup", &world.database()]);
    world.write("victim", "mine\n");
    let restore = || {
        let out = world.text("out");
        world.output(&["restore", "latest", "--target", &out, "--force"])
    };
    let untouched = || {
        assert_eq!(fs::read_to_string(world.path("victim")).unwrap(), "mine\n");
    };
    fs::create_dir_all(world.path("out/sqlite-app.db")).unwrap();
    for name in ["app.db.keepstone-part", "app.db"] {
        let link = world.path("out/sqlite-app.db").join(name);
        symlink(world.path("victim"), link).unwrap();
        assert!(restore().status.success(), "{name}");
        untouched();
        let made = fs::symlink_metadata(world.path("out/sqlite-app.db/app.db")).unwrap();
        assert!(made.is_file());
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(world.path("out/sqlite-app.db")).unwrap();
        fs::create_dir(world.path("out/sqlite-app.db")).unwrap();
    }
    fs::remove_dir(world.path("out/sqlite-app.db")).unwrap();
    fs::create_dir(world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), world.path("out/sqlite-app.db")).unwrap();
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &world.text("out"), "--force"]), @r###"
    exit 1
    -- stderr
    snapshot ID1 of TIME, host web1
    error: cannot write the export in HOME/out/sqlite-app.db: HOME/out/sqlite-app.db is no folder
    "###);
    assert_eq!(fs::read_dir(world.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_restored_shows_before() {
    let world = World::filled();
    world.backup(&["backup", "data/sub"]);
    fs::rename(world.path("data"), world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), world.path("data")).unwrap();
    let lines = |more: &[&str]| {
        let restore = ["restore", "latest", "--in-place"];
        world.run(&[&restore, more].concat())
    };
    let dry = lines(&["--dry-run"]);
    let real = lines(&["--force"]);
    let warnings = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("warning:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(dry.starts_with("exit 3"), "{dry}");
    assert!(real.starts_with("exit 3"), "{real}");
    assert!(!warnings(&dry).is_empty(), "{dry}");
    assert_eq!(warnings(&dry), warnings(&real));
}
