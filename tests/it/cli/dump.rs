//! `keepstone dump`.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use super::help;
use super::world::World;

#[test]
fn help_of_dump() {
    insta::assert_snapshot!(help(&["dump"]), @r###"
    exit 0
    -- stdout
    Write a file or a source of a snapshot to standard output

    Usage: keepstone dump [OPTIONS] <SNAPSHOT[:PATH]> [PATH]

    Arguments:
      <SNAPSHOT[:PATH]>  The snapshot, with :PATH or :SOURCE what to write
      [PATH]             What to write, if it does not stand after the snapshot

    Options:
      -t, --target <FILE>  Write into this file instead of standard output
          --raw            Write the stream as it is kept, not in the form of the source's tools
      -h, --help           Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone dump latest:/etc/hosts
      keepstone dump latest /etc/hosts
      keepstone dump latest:postgres-app | psql -v ON_ERROR_STOP=1 copy_of_app
      keepstone dump latest:postgres/app | psql -v ON_ERROR_STOP=1 copy_of_app
      keepstone dump latest:redis | redis-cli --pipe
      keepstone dump latest:sqlite-app.db -t app.db

    Of a PostgreSQL source one database is written, to be loaded into an empty one of any name. Roles,
    owners and settings of databases belong to the server: they come as SOURCE/globals.sql, and change
    what bears their names there.
    "###);
}

#[test]
fn files_streams_and_exports_go_to_standard_output() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database, "command:printf 'a %s' dump"]);
    let hello = world.text("data/hello.txt");
    assert_eq!(world.ok(&["dump", &format!("latest:{hello}")]), "hello\n");
    assert_eq!(world.ok(&["dump", "latest", &hello]), "hello\n");
    assert_eq!(world.ok(&["dump", "latest:command-printf"]), "a dump");
    assert_eq!(
        world.ok(&["dump", "latest:command-printf/output"]),
        "a dump"
    );
    let mut typed = world.command(&["backup", "--stdin", "--stdin-filename", "x.sql"]);
    fs::write(world.path("typed"), "select 1;").unwrap();
    let typed = typed
        .stdin(fs::File::open(world.path("typed")).unwrap())
        .status();
    assert!(typed.unwrap().success());
    assert_eq!(world.ok(&["dump", "latest:stdin-x.sql"]), "select 1;");
    // A database comes as the file that sqlite3 opens.
    let copy = world.text("copy.db");
    world.ok(&["dump", "latest:sqlite-app.db", "-t", &copy]);
    let count: i64 = rusqlite::Connection::open(&copy)
        .and_then(|database| database.query_row("SELECT count(*) FROM t", (), |row| row.get(0)))
        .unwrap();
    assert_eq!(count, 100);
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    insta::assert_snapshot!(world.run(&["dump", "latest:sqlite-app.db", "-t", &copy]), @r###"
    exit 1
    -- stderr
    error: cannot make HOME/copy.db: entity already exists
    "###);
}

#[test]
fn a_stream_has_the_name_that_it_was_given() {
    let world = World::new();
    let named = ["--stdin-filename", "x.sql", "--", "printf", "select 1;"];
    world.backup(&[&["backup", "--stdin-from-command"][..], &named].concat());
    assert_eq!(world.ok(&["ls", "latest"]), "stdin-x.sql/x.sql\n");
    assert_eq!(world.ok(&["dump", "latest:stdin-x.sql/x.sql"]), "select 1;");
    world.ok(&["restore", "latest", "--target", &world.text("out")]);
    let restored = fs::read_to_string(world.path("out/stdin-x.sql/x.sql"));
    assert_eq!(restored.unwrap(), "select 1;");
    insta::assert_snapshot!(world.run(&["dump", "latest", "stdin"]), @r###"
    exit 1
    -- stderr
    error: the snapshot holds no source stdin
    hint: It holds stdin-x.sql.
    "###);
    let command = ["--", "printf", "x"];
    let unusable = [
        &["backup", "--stdin-from-command", "--stdin-filename", ".."][..],
        &command,
    ];
    assert_eq!(world.code(&unusable.concat()), 2);
}

#[test]
fn every_name_of_a_file_has_its_content() {
    let world = World::filled();
    fs::hard_link(world.path("data/hello.txt"), world.path("data/sub/again")).unwrap();
    world.backup(&["backup", "data"]);
    for name in ["data/hello.txt", "data/sub/again"] {
        let address = format!("latest:{}", world.text(name));
        assert_eq!(world.ok(&["dump", &address]), "hello\n", "{name}");
    }
}

#[test]
fn what_cannot_be_dumped_is_said() {
    let world = World::filled();
    world.backup(&["backup", "data", "command:printf x"]);
    let data = world.text("data");
    insta::assert_snapshot!(world.run(&["dump", "latest"]), @r###"
    exit 2
    -- stderr
    error: name one file, stream or source to dump
    hint: For example latest:/etc/hosts or latest:postgres-app.
    "###);
    insta::assert_snapshot!(world.run(&["dump", "latest:files"]), @r###"
    exit 2
    -- stderr
    error: source files holds many files: name one of them
    "###);
    insta::assert_snapshot!(world.run(&["dump", &format!("latest:{data}")]), @r###"
    exit 2
    -- stderr
    error: HOME/data has no content: name a file
    "###);
    insta::assert_snapshot!(world.run(&["dump", &format!("latest:{data}/absent")]), @r###"
    exit 1
    -- stderr
    error: the snapshot holds no HOME/data/absent
    "###);
    insta::assert_snapshot!(world.run(&["dump", "ffff:/x"]), @r###"
    exit 1
    -- stderr
    error: no snapshot begins with ffff
    "###);
    assert!(!world.path("out").exists());
    insta::assert_snapshot!(world.run(&["dump", "latest:command-printf/absent", "-t", "out"]), @r###"
    exit 1
    -- stderr
    error: the snapshot holds no command-printf/absent
    "###);
    assert!(!world.path("out").exists(), "half a dump is left");
}

#[test]
fn a_reader_that_has_enough_ends_a_dump_in_silence() {
    let world = World::new();
    world.backup(&["backup", "command:head -c 3000000 /dev/zero"]);
    let mut command = world.command(&["dump", "latest:command-head"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_file_is_found_in_whichever_source_holds_it() {
    let world = World::filled();
    world.write("more/other.txt", "other\n");
    let (data, more) = (world.text("data"), world.text("more"));
    world.backup(&[
        "backup",
        &format!("docs=files:{data}"),
        &format!("more=files:{more}"),
    ]);
    assert_eq!(
        world.ok(&["dump", &format!("latest:{more}/other.txt")]),
        "other\n"
    );
    insta::assert_snapshot!(world.run(&["ls", &format!("latest:{data}/sub")]), @r###"
    exit 0
    -- stdout
    docsHOME/data/sub
    docsHOME/data/sub/link
    docsHOME/data/sub/list.txt
    "###);
    let out = world.text("out");
    insta::assert_snapshot!(world.run(&["restore", &format!("latest:{more}"), "--target", &out]), @r###"
    exit 0
    -- stdout
    more: SIZE restored to HOME/out
    -- stderr
    snapshot ID1 of TIME, host web1
    "###);
}

#[test]
fn a_stream_comes_as_it_is_kept_if_that_is_wanted() {
    let world = World::filled();
    world.backup(&["backup", &world.database()]);
    let raw = world.output(&["dump", "latest:sqlite-app.db", "--raw"]);
    assert!(raw.status.success());
    let listed = world.ok(&["ls", "latest:sqlite-app.db"]);
    let stream = listed.lines().last().unwrap();
    let named = world.output(&["dump", &format!("latest:{stream}")]);
    assert!(!raw.stdout.is_empty() && raw.stdout == named.stdout);
    world.backup(&["backup", "data"]);
    insta::assert_snapshot!(world.run(&["dump", "latest:files", "--raw"]), @r###"
    exit 2
    -- stderr
    error: source files holds many files: name one of them
    "###);
}

#[test]
fn a_dump_into_a_folder_of_others_goes_through_no_link() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    world.write("victim", "mine\n");
    for name in ["copy.keepstone-part", "copy"] {
        symlink(world.path("victim"), world.path(name)).unwrap();
        let hello = format!("latest:{}", world.text("data/hello.txt"));
        let code = world.code(&["dump", &hello, "-t", &world.text("copy")]);
        assert_eq!(fs::read_to_string(world.path("victim")).unwrap(), "mine\n");
        if name == "copy" {
            assert_eq!(code, 1);
            continue;
        }
        assert_eq!(code, 0);
        assert_eq!(fs::read_to_string(world.path("copy")).unwrap(), "hello\n");
        fs::remove_file(world.path("copy")).unwrap();
    }
}
