//! `keepstone ls`.

use super::help;

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
