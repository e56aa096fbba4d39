//! `keepstone diff`.

use super::help;

#[test]
fn help_of_diff() {
    insta::assert_snapshot!(help(&["diff"]), @r###"
    exit 0
    -- stdout
    Show what differs between two snapshots

    Usage: keepstone diff [OPTIONS] <SNAPSHOT[:PATH]> <SNAPSHOT[:PATH]>

    Arguments:
      <SNAPSHOT[:PATH]>  The earlier snapshot
      <SNAPSHOT[:PATH]>  The later snapshot

    Options:
          --metadata       Show entries of which only owner, mode or times differ
          --source <NAME>  Only this source; may be given several times
      -h, --help           Print help (see more with '--help')

    Examples:
      keepstone diff latest~1 latest
      keepstone diff --metadata 3fc2a9:/etc 77aa01:/etc
      keepstone diff --source postgres-app latest~24 latest

    Each line begins with + (added), - (removed), M (content), U (metadata) or T (kind).
    "###);
}
