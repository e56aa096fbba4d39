//! `keepstone snapshots`.

use super::help;

#[test]
fn help_of_snapshots() {
    insta::assert_snapshot!(help(&["snapshots"]), @"");
}
