//! `keepstone cat`.

use super::help;

#[test]
fn help_of_cat() {
    insta::assert_snapshot!(help(&["cat"]), @r###"
    exit 0
    -- stdout
    Show an object of the repository as it is

    Usage: keepstone cat [OPTIONS] <KIND> [ID]

    Arguments:
      <KIND>  What kind of object [possible values: config, key, snapshot, session, index, pack, node,
              chunk]
      [ID]    Its id, or the first digits of it; all but config need one

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone cat config
      keepstone cat snapshot 3fc2a9
      keepstone cat pack 77aa01
    "###);
}
