//! `keepstone dump`.

use super::help;

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
      keepstone dump latest:redis | redis-cli --pipe
      keepstone dump latest:sqlite-app.db -t app.db
    "###);
}
