//! `keepstone tag`.

use super::help;

#[test]
fn help_of_tag() {
    insta::assert_snapshot!(help(&["tag"]), @r###"
    exit 0
    -- stdout
    Change the tags of snapshots

    Usage: keepstone tag [OPTIONS] <--set <TAGS>|--add <TAGS>|--remove <TAGS>> [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Only these snapshots; otherwise all that pass the filters

    Options:
          --set <TAGS>     Replace all tags by these
          --add <TAGS>     Add these tags
          --remove <TAGS>  Remove these tags
      -h, --help           Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone tag --add pre-upgrade latest
      keepstone tag --remove pre-upgrade 3fc2a9 77aa01
      keepstone tag --set nightly,web --host web1

    A snapshot whose tags change gets a new id.
    "###);
}
