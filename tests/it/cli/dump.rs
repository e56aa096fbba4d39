//! `keepstone dump`.

use super::help;

#[test]
fn help_of_dump() {
    insta::assert_snapshot!(help(&["dump"]), @"");
}
