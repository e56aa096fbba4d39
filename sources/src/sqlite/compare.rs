//! A staged database beside what was recorded of the captured one.

use keepstone_engine::source::{CollectionFacts, Items, SourceError, Validation};

use super::capture::{Tables, read_tables};
use super::client::{Checked, Client};
use super::facts;

/// Oddities that are told one by one.
const ODDITIES_TOLD: usize = 10;

/// Compares a staged database with what was recorded of the captured one.
pub(super) fn compare(
    client: &Client,
    items: &dyn Items,
    digests: bool,
) -> Result<Validation, SourceError> {
    let Checked {
        problems,
        oddities,
        notes,
    } = client.check()?;
    let mut validation = Validation {
        differences: problems,
        notes,
        ..Validation::default()
    };
    if !validation.differences.is_empty() {
        return Ok(validation);
    }
    let recorded = items.open_facts().attributes.get(facts::SCHEMA_DIGEST);
    let found = client.schema_digest()?.finish().to_string();
    if recorded.is_some_and(|recorded| recorded.as_str() != Some(&found)) {
        validation.differences.push("the schema differs".into());
    }
    let Tables {
        collections,
        warnings,
    } = read_tables(client, digests)?;
    validation.notes.extend(warnings);
    compare_tables(&items.report().collections, &collections, &mut validation);
    // What is sound and equal to what was captured was no better there.
    if validation.differences.is_empty() {
        validation.notes.extend(told(&oddities));
    } else {
        validation.differences.extend(oddities);
    }
    Ok(validation)
}

/// The first few of what may be many.
fn told(oddities: &[String]) -> impl Iterator<Item = String> {
    let more = oddities.len().saturating_sub(ODDITIES_TOLD);
    let first = oddities
        .iter()
        .take(ODDITIES_TOLD)
        .map(|oddity| format!("it was captured like that: {oddity}"));
    first.chain((more > 0).then(|| format!("it was captured like that: {more} more of such")))
}

/// Compares tables by name.
pub(super) fn compare_tables(
    recorded: &[CollectionFacts],
    found: &[CollectionFacts],
    validation: &mut Validation,
) {
    for table in recorded {
        let name = &table.name;
        let Some(other) = found.iter().find(|other| other.name == *name) else {
            validation
                .differences
                .push(format!("table {name} is missing"));
            continue;
        };
        validation.records += other.records;
        if other.records != table.records {
            validation.differences.push(format!(
                "table {name} has {} rows where {} were captured",
                other.records, table.records
            ));
        } else if table.digest.is_some() && other.digest != table.digest {
            validation
                .differences
                .push(format!("the rows of table {name} differ"));
        }
    }
    let is_new = |other: &&CollectionFacts| recorded.iter().all(|table| table.name != other.name);
    for other in found.iter().filter(is_new) {
        validation.notes.push(format!(
            "table {} was not counted when it was captured",
            other.name
        ));
    }
}
