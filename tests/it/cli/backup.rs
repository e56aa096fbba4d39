//! `keepstone backup`.

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
      keepstone backup sqlite:/var/lib/app.db redis://localhost:6379 postgres://backup@localhost/app
      keepstone backup main=postgres://localhost/app 'command:mysqldump --all-databases'
      keepstone backup --set nightly --tag pre-upgrade
      keepstone backup --stdin-from-command --stdin-filename db.sql -- mysqldump app

    Sources are a path, or files:/path, command:PROGRAM ARGUMENTS, sqlite:/path,
    redis://host:port/number,
    postgres://user@host/database, each of them with NAME= in front if its name matters. All of them
    become one
    snapshot, or none: a source that fails fails the run, unless --partial is given.
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
