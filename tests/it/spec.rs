//! The examples of repo-format.md are executed: each is decoded, compared with what the text says, and encoded again
//! where the encoder has no choice. None is left out.

mod boxes;
mod document;
mod keys;
mod limits;
mod nodes;
mod packs;
mod records;
mod small;
mod sources;
mod values;
mod whole;

use document::Check;

/// Every example and what holds of it, by the file that says it.
const CHECKS: &[&[Check]] = &[
    values::CHECKS,
    keys::CHECKS,
    boxes::CHECKS,
    small::CHECKS,
    packs::CHECKS,
    records::CHECKS,
    nodes::CHECKS,
    sources::CHECKS,
];

#[test]
fn no_example_of_the_format_is_left_unexecuted() {
    let mut written: Vec<_> = document::examples()
        .into_iter()
        .map(|example| example.name)
        .collect();
    let mut executed: Vec<_> = CHECKS
        .iter()
        .flat_map(|checks| checks.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    written.sort();
    executed.sort();
    assert_eq!(written, executed);
}
