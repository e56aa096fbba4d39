//! `keepstone stats`.

use super::help;

#[test]
fn help_of_stats() {
    insta::assert_snapshot!(help(&["stats"]), @r###"
    exit 0
    -- stdout
    Show how much space snapshots and the repository take

    Usage: keepstone stats [OPTIONS] [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these snapshots; otherwise all

    Options:
      -h, --help  Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone stats
      keepstone stats latest
      keepstone stats --host web1 --source postgres-app
    "###);
}
