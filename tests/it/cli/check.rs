//! `keepstone check`.

use super::help;

#[test]
fn help_of_check() {
    insta::assert_snapshot!(help(&["check"]), @r###"
    exit 0
    -- stdout
    Verify the repository

    Usage: keepstone check [OPTIONS]

    Options:
          --read-data                  Read and verify all content
          --read-data-subset <SUBSET>  Read and verify a part of the content: n/t, a percentage or a
                                       size
      -h, --help                       Print help (see more with '--help')

    Examples:
      keepstone check
      keepstone check --read-data
      keepstone check --read-data-subset 1/7    the first of seven parts; 2/7 on the next day
      keepstone check --read-data-subset 5%     so much, chosen at random
      keepstone check --read-data-subset 2G

    Without --read-data only structure is verified: that everything a snapshot needs is there.
    "###);
}
