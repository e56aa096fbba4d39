//! `keepstone prune`.

use super::help;

#[test]
fn help_of_prune() {
    insta::assert_snapshot!(help(&["prune"]), @r###"
    exit 0
    -- stdout
    Free the space that no snapshot needs

    Usage: keepstone prune [OPTIONS]

    Options:
      -n, --dry-run                 Show what would be removed
          --fence-after <DURATION>  Shut out a run of another host that was silent so long; it then
                                    fails instead of committing [default: 24h]
      -h, --help                    Print help (see more with '--help')

    Examples:
      keepstone prune --dry-run
      keepstone prune
      keepstone prune --fence-after 6h

    Nobody needs to stop: backups may run on any host meanwhile. What a run that is still going on could
    need is
    condemned now and removed by a later prune.
    "###);
}
