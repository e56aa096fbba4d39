//! `keepstone backup`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::failures::unprivileged;
use super::world::{World, of_type};
use super::{help, home, run};

#[test]
fn help_of_backup() {
    insta::assert_snapshot!(help(&["backup"]), @r###"
    exit 0
    -- stdout
    Save sources as one snapshot

    Usage: keepstone backup [OPTIONS] [SOURCE]...

    Arguments:
      [SOURCE]...  What to save: paths and addresses; with --stdin-from-command the command and its
                   arguments

    Options:
          --set <NAME>          Save the sources of this set of keepstone.toml
          --source <NAME>       Of the set, or of keepstone.toml, only this source; may be given several
                                times
      -H, --host <HOST>         Host label, instead of the name of this machine [env: KEEPSTONE_HOST]
          --tag <TAGS>          Tags, separated by commas; may be given several times
          --description <TEXT>  Say what this snapshot is for
          --type <KIND>         Kind of the run, such as hourly or manual
          --time <TIME>         Date the snapshot then instead of now
      -n, --dry-run             Show what would be saved
          --partial             Commit the sources that succeeded although others failed
          --skip-if-unchanged   Make no snapshot if nothing changed
          --full                Read everything again, also files that look unchanged [aliases: -f,
                                --force]
          --rebase              And store it without deltas
          --fetch-bases         Read what deltas need from the repository if the cache lacks it
      -h, --help                Print help (see more with '--help')

    What to leave out of files:
      -e, --exclude <PATTERN>           Leave out what matches, as in .gitignore; may be given several
                                        times
          --iexclude <PATTERN>          The same, with capitals and small letters the same
          --exclude-file <FILE>         Leave out what matches a line of this file; may be given several
                                        times
          --iexclude-file <FILE>        The same, with capitals and small letters the same
          --exclude-caches              Leave out what is in folders marked with a CACHEDIR.TAG
          --exclude-if-present <NAME>   Leave out what is in folders that hold this file; may be given
                                        several times
          --exclude-larger-than <SIZE>  Leave out larger files
      -x, --one-file-system             Stay on the file systems of the paths that were named

    A stream instead of sources:
          --stdin                  Save standard input
          --stdin-from-command     Save what a command prints; the command follows after --
          --stdin-filename <NAME>  Name of the stream in the snapshot [default: stdin]

    Examples:
      keepstone backup /etc /home
      keepstone backup sqlite:/var/lib/app.db redis://localhost postgres://localhost/app
      keepstone backup main=postgres://localhost/app 'command:mysqldump --all-databases'
      keepstone backup --set nightly --tag pre-upgrade
      keepstone backup --stdin-from-command --stdin-filename db.sql -- mysqldump app

    Sources are a path, or files:/path, command:PROGRAM ARGUMENTS, sqlite:/path,
    redis://host:port/number, postgres://user@host/database, each of them with NAME= in front if its
    name matters. All of them become one snapshot, or none: a source that fails fails the run, unless
    --partial is given.
    "###);
}

#[test]
fn a_password_in_an_address_is_refused_with_advice_and_not_repeated() {
    let home = home();
    let text = run(
        home.path(),
        &[
            "backup",
            "-r",
            "/srv/x",
            "postgres://app:hunter2@localhost/app",
        ],
    );
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r###"
    exit 2
    -- stderr
    error: the address postgres://localhost/app holds a password
    hint: Everyone on this machine can read a command line. Name a file or a command instead (?password_file=/path in the address; password_file or password_command under [source.NAME] in keepstone.toml), or use PGPASSWORD, ~/.pgpass or REDISCLI_AUTH.
    "###);
}

#[test]
fn sources_that_cannot_be_meant_are_refused() {
    let home = home();
    let ask = |arguments: &[&str]| {
        let arguments: Vec<_> = ["backup", "-r", "/srv/x"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(home.path(), &arguments)
    };
    insta::assert_snapshot!(ask(&[]), @r###"
    exit 2
    -- stderr
    error: nothing to save was named
    hint: Name paths, addresses or a --set; keepstone backup --help has examples.
    "###);
    insta::assert_snapshot!(ask(&["mysql://localhost/app"]), @r###"
    exit 2
    -- stderr
    error: mysql is not a kind of source
    hint: The kinds are files, command, sqlite, redis and postgres. A path that looks like an address is written ./so.
    "###);
    insta::assert_snapshot!(ask(&["redis://a", "redis://b"]), @r###"
    exit 2
    -- stderr
    error: two sources have the name redis
    hint: Give one another name: NAME=URL.
    "###);
    insta::assert_snapshot!(ask(&["--set", "nightly"]), @r###"
    exit 2
    -- stderr
    error: there is no set nightly
    hint: There is no keepstone.toml; --config names one.
    "###);
    insta::assert_snapshot!(ask(&["/etc", "--time", "5m"]), @r###"
    exit 2
    -- stderr
    error: --time 5m: m could be minutes or months: write min or mo
    "###);
    insta::assert_snapshot!(ask(&["/etc", "--rebase"]), @r###"
    exit 2
    -- stderr
    error: the following required arguments were not provided:
      --full

    Usage: keepstone backup --full --repo <ADDRESS> --rebase <SOURCE>...

    For more information, try '--help'.
    "###);
}

fn three(database: &str) -> [&str; 4] {
    ["backup", "data", database, "command:printf 'a %s' dump"]
}

#[test]
fn sources_side_by_side_become_one_snapshot() {
    let world = World::filled();
    let database = world.database();
    insta::assert_snapshot!(world.run(&three(&database)), @r###"
    exit 0
    -- stdout
    files: 1.7 kB in 3 files, SIZE new, SIZE stored, first capture
    sqlite-app.db: 8.2 kB in 1 stream, SIZE new, SIZE stored, first capture
    command-printf: 6 B in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    "###);
    world.write("data/hello.txt", "hello again\n");
    world.sql("UPDATE t SET name = 'other' WHERE id = 50");
    insta::assert_snapshot!(world.run(&three(&database)), @r###"
    exit 0
    -- stdout
    files: 1.7 kB in 3 files (0 new, 1 changed), SIZE new, SIZE stored, delta against TIME
    sqlite-app.db: 8.2 kB in 1 stream, SIZE new, SIZE stored, delta against TIME
    command-printf: 6 B in 1 stream, SIZE new, SIZE stored, delta against TIME
    snapshot ID1 saved, SIZE stored
    "###);
    insta::assert_snapshot!(world.run(&["backup", "command:printf 'a %s' dump", "--skip-if-unchanged"]), @r###"
    exit 0
    -- stdout
    command-printf: 6 B in 1 stream, SIZE new, SIZE stored, delta against TIME
    nothing changed, no snapshot made
    "###);
    assert_eq!(world.snapshots().len(), 2);
    let first = world.json(&["ls", "latest~1"]);
    assert_eq!(first.len(), of_type(&first, "node").len());
    world.ok(&["check", "--read-data"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    world.write("data/new.txt", "new\n");
    let before = world.objects();
    let database = world.database();
    insta::assert_snapshot!(world.run(&["backup", "data", &database, "--dry-run"]), @r###"
    exit 0
    -- stdout
    files: 1.7 kB in 4 files (1 new, 0 changed), SIZE new, SIZE stored, delta against TIME
    sqlite-app.db: 8.2 kB in 1 stream, SIZE new, SIZE stored, first capture
    dry run: SIZE would be stored
    "###);
    assert_eq!(world.objects(), before);
    let lines = world.json(&["backup", "data", "--dry-run"]);
    let summary = of_type(&lines, "summary");
    assert_eq!(summary[0]["dry_run"], true);
    assert!(summary[0]["snapshot_id"].is_null());
    assert_eq!(world.objects(), before);
}

#[test]
fn standard_input_is_one_stream() {
    let world = World::new();
    let mut command = world.command(&["backup", "--stdin", "--stdin-filename", "dump.sql"]);
    fs::write(world.path("typed"), "select 1;\n").unwrap();
    command.stdin(fs::File::open(world.path("typed")).unwrap());
    insta::assert_snapshot!(world.transcript(&mut command), @r###"
    exit 0
    -- stdout
    stdin-dump.sql: 10 B in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    "###);
    insta::assert_snapshot!(world.run(&["ls"]), @r###"
    exit 0
    -- stdout
    stdin-dump.sql/dump.sql
    "###);
    insta::assert_snapshot!(world.run(&["dump", "latest:stdin-dump.sql/dump.sql"]), @r###"
    exit 0
    -- stdout
    select 1;
    "###);
    insta::assert_snapshot!(
        world.run(&["backup", "--stdin-from-command", "--stdin-filename", "x.sql", "--", "printf", "%s-%s", "a b", "c"]),
        @r###"
        exit 0
        -- stdout
        stdin-x.sql: 5 B in 1 stream, SIZE new, SIZE stored, first capture
        snapshot ID1 saved, SIZE stored
        "###
    );
    let listed = world.ok(&["ls"]);
    insta::assert_snapshot!(listed, @r###"
    stdin-x.sql/x.sql
    "###);
}

#[test]
fn a_command_that_fails_commits_nothing() {
    let world = World::new();
    insta::assert_snapshot!(
        world.run(&["backup", "--stdin-from-command", "--", "sh", "-c", "echo half; echo it broke >&2; exit 7"]),
        @r###"
        exit 23
        -- stderr
        error: source stdin-stdin failed: sh ended with status 7: it broke
        hint: Run that program by itself, as this user, to see what it lacks. Nothing was committed; --partial saves the other sources.
        "###
    );
    insta::assert_snapshot!(world.run(&["backup", "command:no-such-program --all"]), @r###"
    exit 23
    -- stderr
    error: source command-no-such-program failed: cannot start no-such-program: No such file or directory (os error 2)
    hint: Check the path or name. Nothing was committed; --partial saves the other sources.
    "###);
    assert_eq!(world.snapshots(), Vec::<String>::new());
    world.ok(&["check", "--read-data"]);
}

#[test]
fn what_was_said_of_a_run_is_listed() {
    let world = World::filled();
    world.backup(&[
        "backup",
        "data",
        "--tag",
        "b,a",
        "--tag",
        "c",
        "--description",
        "before the move",
        "--type",
        "hourly",
        "-H",
        "db2",
        "--time",
        "2024-05-01 10:00",
    ]);
    let listed = world.json(&["snapshots"]);
    let wanted = [
        ("time", "2024-05-01T10:00:00Z"),
        ("description", "before the move"),
        ("label", "hourly"),
        ("host", "db2"),
        ("user", "operator"),
        ("zone", "UTC"),
    ];
    for (field, value) in wanted {
        assert_eq!(listed[0][field], value, "{field}");
    }
    assert_eq!(listed[0]["tags"], serde_json::json!(["a", "b", "c"]));
}

#[test]
fn a_set_of_the_configuration_is_one_snapshot() {
    let world = World::filled();
    world.configure(&format!(
        "[source.docs]\nurl = \"files:{}\"\n[source.app]\nurl = \"{}\"\n[source.note]\nurl = \"command:printf hi\"\n\
         [set.nightly]\nsources = [\"docs\", \"app\"]\n",
        world.text("data"),
        world.database()
    ));
    insta::assert_snapshot!(world.run(&["backup", "--set", "nightly"]), @r###"
    exit 0
    -- stdout
    docs: 1.7 kB in 3 files, SIZE new, SIZE stored, first capture
    app: 8.2 kB in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    "###);
    insta::assert_snapshot!(world.run(&["backup", "--set", "nightly", "--source", "app"]), @r###"
    exit 0
    -- stdout
    app: 8.2 kB in 1 stream, SIZE new, SIZE stored, delta against TIME
    snapshot ID1 saved, SIZE stored
    "###);
    insta::assert_snapshot!(world.run(&["backup", "--source", "note"]), @r###"
    exit 0
    -- stdout
    note: 2 B in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    "###);
    let listed = world.json(&["snapshots"]);
    assert_eq!(listed[0]["set"], "nightly");
    assert!(listed[2]["set"].is_null());
}

#[test]
fn a_source_that_fails_fails_the_run_unless_the_rest_is_wanted() {
    let world = World::filled();
    let good = world.backup(&["backup", "data"]);
    let missing = format!("sqlite:{}", world.text("gone.db"));
    insta::assert_snapshot!(world.run(&["backup", "data", &missing]), @r###"
    exit 23
    -- stderr
    error: source sqlite-gone.db failed: cannot find HOME/gone.db: No such file or directory (os error 2)
    hint: Check the path or name. Nothing was committed; --partial saves the other sources.
    "###);
    assert_eq!(world.snapshots(), std::slice::from_ref(&good));
    insta::assert_snapshot!(world.run(&["backup", "data", &missing, "--partial"]), @r###"
    exit 23
    -- stdout
    files: 1.7 kB in 3 files (0 new, 0 changed), SIZE new, SIZE stored, delta against TIME
    sqlite-gone.db: FAILED: source sqlite-gone.db failed: cannot find HOME/gone.db: No such file or directory (os error 2)
    snapshot ID1 saved, SIZE stored
    "###);
    assert_eq!(world.snapshots().len(), 2);
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  TIME  web1  files  SIZE  SIZE
    ID2  TIME  web1  files, sqlite-gone.db (failed)  SIZE  SIZE
    2 snapshots, SIZE stored by them
    "###);
    // What is whole is what `latest` means; for a source that was saved the partial one will do.
    let lines = world.json(&["find", "hello.txt", "--snapshot", "latest"]);
    assert_eq!(lines[0]["snapshot_id"], good.as_str());
    let lines = world.json(&[
        "find",
        "hello.txt",
        "--snapshot",
        "latest",
        "--source",
        "files",
    ]);
    assert_ne!(lines[0]["snapshot_id"], good.as_str());
    insta::assert_snapshot!(world.run(&["backup", "--partial", &missing]), @r###"
    exit 23
    -- stderr
    error: source sqlite-gone.db failed: cannot find HOME/gone.db: No such file or directory (os error 2)
    hint: Check the path or name.
    "###);
    assert_eq!(world.snapshots().len(), 2);
}

#[test]
fn a_path_that_is_not_there_fails_the_source() {
    let world = World::filled();
    insta::assert_snapshot!(world.run(&["backup", "data", "absent"]), @r###"
    exit 23
    -- stderr
    error: source files failed: cannot read HOME/absent: No such file or directory (os error 2)
    hint: Check the path or name. Nothing was committed; --partial saves the other sources.
    "###);
    assert_eq!(world.snapshots(), Vec::<String>::new());
}

#[test]
fn an_entry_that_cannot_be_read_is_named_and_the_rest_is_saved() {
    let world = World::filled();
    fs::set_permissions(
        world.path("data/hello.txt"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    // Root reads everything, unless it is told not to.
    let mut command = unprivileged(&world.command(&["backup", "data"]));
    insta::assert_snapshot!(world.transcript(&mut command), @r###"
    exit 3
    -- stdout
    files: 1.7 kB in 2 files, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    -- stderr
    warning: files: HOME/data/hello.txt: permission denied
    "###);
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn what_is_excluded_is_left_out() {
    let world = World::filled();
    world.write(
        "data/cache/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n",
    );
    world.write("data/cache/x", "x");
    world.write("data/big.bin", &"x".repeat(5000));
    world.write("data/a.LOG", "log");
    world.write("patterns", "sub/link\n");
    let patterns = world.text("patterns");
    world.backup(&[
        "backup",
        "data",
        "--iexclude",
        "*.log",
        "--exclude",
        "empty",
        "--exclude-file",
        &patterns,
        "--exclude-caches",
        "--exclude-larger-than",
        "4K",
    ]);
    insta::assert_snapshot!(world.transcript(&mut world.command(&["ls", &format!("latest:{}", world.text("data")), "--recursive"])), @r###"
    exit 0
    -- stdout
    HOME/data
    HOME/data/cache
    HOME/data/cache/CACHEDIR.TAG
    HOME/data/hello.txt
    HOME/data/sub
    HOME/data/sub/list.txt
    "###);
}

#[test]
fn what_to_leave_out_of_files_needs_files() {
    let world = World::filled();
    let database = world.database();
    for flags in [&["--exclude", "*"][..], &["--one-file-system"]] {
        for what in [&[database.as_str()][..], &["--stdin"]] {
            let said = world.run(&[&["backup"], what, flags].concat());
            assert!(said.starts_with("exit 2\n"), "{said}");
            assert!(said.contains("no files are saved"), "{said}");
        }
        world.ok(&[&["backup", "data", &database][..], flags].concat());
    }
}
