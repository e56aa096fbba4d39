//! `keepstone undelete`.

use super::help;

#[test]
fn help_of_undelete() {
    insta::assert_snapshot!(help(&["undelete"]), @r###"
    exit 0
    -- stdout
    Bring a forgotten snapshot back, while its data is there

    Usage: keepstone undelete [OPTIONS] <ID>...

    Arguments:
      <ID>...  The forgotten snapshot: its id or the first digits of it

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone snapshots --forgotten
      keepstone undelete 3fc2a9

    The snapshot comes back under a new id. Once prune has removed data that it needs, it cannot.
    "###);
}
