//! Wrong usage: exit 2, the reason on standard error, nothing on standard output.

use super::{home, run};

#[test]
fn help_of_the_whole() {
    insta::assert_snapshot!(run(home().path(), &["-h"]), @r###"
    exit 0
    -- stdout
    Backs up files, databases and the output of commands into one encrypted repository, for the price of
    what changed

    Usage: keepstone [OPTIONS] <COMMAND>

    Commands:
      init         Create a repository
      backup       Save sources as one snapshot
      snapshots    List snapshots
      ls           List what a snapshot holds
      diff         Show what differs between two snapshots
      find         Search snapshots for names
      dump         Write a file or a source of a snapshot to standard output
      restore      Bring back what a snapshot holds
      check        Verify the repository
      forget       Remove snapshots, by id or by rules
      prune        Free the space that no snapshot needs
      undelete     Bring a forgotten snapshot back, while its data is there
      stats        Show how much space snapshots and the repository take
      tag          Change the tags of snapshots
      key          Manage passwords and keys
      cat          Show an object of the repository as it is
      completions  Write completions for a shell
      version      Show the version

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Global options:
      -r, --repo <ADDRESS>        Address of the repository: a folder, or a URL such as
                                  s3://bucket/folder [env: KEEPSTONE_REPOSITORY]
      -p, --password-file <FILE>  File that holds the password [env: KEEPSTONE_PASSWORD_FILE;
                                  KEEPSTONE_PASSWORD holds it itself]
      -q, --quiet                 Say only results and what is wrong [env: KEEPSTONE_QUIET]
      -v, --verbose...            Say what was decided, and why; twice: everything [env:
                                  KEEPSTONE_VERBOSE]
          --json                  Write results as JSON, one object a line [env: KEEPSTONE_JSON]

    Examples:
      keepstone init -r /srv/backup
      keepstone backup -r /srv/backup /etc sqlite:/var/lib/app.db redis://localhost
      keepstone snapshots -r /srv/backup
      keepstone restore -r /srv/backup --at 3h --target /tmp/restored
    "###);
}

#[test]
fn what_is_not_understood_is_said() {
    let home = home();
    insta::assert_snapshot!(run(home.path(), &["backpu"]), @r###"
    exit 2
    -- stderr
    error: unrecognized subcommand 'backpu'

      tip: a similar subcommand exists: 'backup'

    Usage: keepstone [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(run(home.path(), &["snapshots", "--hots", "a"]), @r###"
    exit 2
    -- stderr
    error: unexpected argument '--hots' found

      tip: a similar argument exists: '--host'

    Usage: keepstone snapshots --host <HOST> [SNAPSHOT]...

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(run(home.path(), &["-q", "-v", "snapshots"]), @r###"
    exit 2
    -- stderr
    error: the argument '--quiet' cannot be used with '--verbose...'

    Usage: keepstone --quiet <COMMAND>

    For more information, try '--help'.
    "###);
}

#[test]
fn with_json_the_reason_is_an_object() {
    let home = home();
    insta::assert_snapshot!(run(home.path(), &["--json", "backpu"]), @r###"
    exit 2
    -- stderr
    {"message_type":"exit_error","schema_version":1,"code":2,"message":"unrecognized subcommand 'backpu'"}
    "###);
    insta::assert_snapshot!(run(home.path(), &["--json", "backup"]), @r###"
    exit 2
    -- stderr
    {"message_type":"exit_error","schema_version":1,"code":2,"message":"nothing to save was named","hint":"Name paths, addresses or a --set; keepstone backup --help has examples."}
    "###);
}

#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    let home = home();
    let text = run(home.path(), &["snapshots", "redis://:hunter2@localhost"]);
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r###"
    exit 2
    -- stderr
    error: invalid value 'redis://localhost' for '[SNAPSHOT]...': a whole snapshot is meant here: leave out what follows the colon

    For more information, try '--help'.
    "###);
}

#[test]
fn colours_are_used_only_when_they_are_wanted() {
    let home = home();
    let with = |when: &str| run(home.path(), &["--color", when, "backup"]);
    assert!(with("always").contains("\u{1b}[1;31merror:"));
    assert!(!with("never").contains('\u{1b}'));
    assert!(!with("auto").contains('\u{1b}'));
}
