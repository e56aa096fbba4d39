//! `keepstone snapshots`.

use super::help;

#[test]
fn help_of_snapshots() {
    insta::assert_snapshot!(help(&["snapshots"]), @r###"
    exit 0
    -- stdout
    List snapshots

    Usage: keepstone snapshots [OPTIONS] [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these: an id or its first digits, latest, latest~N

    Options:
          --latest <N>        Only the newest N of each group
      -g, --group-by <GROUP>  Show groups: host, set, tags, separated by commas
          --forgotten         Show forgotten ones that can still be brought back
      -h, --help              Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone snapshots
      keepstone snapshots --host web1 --tag nightly --latest 5
      keepstone snapshots latest~2
      keepstone snapshots --json
    "###);
}
