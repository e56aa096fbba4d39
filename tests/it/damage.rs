//! Damage, as a matrix: every kind of object × every way to damage it × everything that is done with a repository.
//!
//! Never a panic, never wrong bytes: a restore gives the exact bytes or an error. The tables say what is reported, what
//! is lost, what a backup heals; that a prune deletes nothing because of the damage is asserted for every row.

mod acts;
mod life;

use std::fmt::Write as _;

use self::acts::row;
use self::life::{Action, LIFE, Target};

/// Compares the rows of some targets with a table, and says all that differ.
fn check(targets: &[Target], table: &str) {
    let mut found = String::new();
    for target in targets {
        for action in Action::ALL {
            let row = row(&LIFE, *target, action);
            writeln!(found, "{target:?} {action:?}: {row}").unwrap();
        }
    }
    let wanted: Vec<_> = table.trim().lines().map(str::trim).collect();
    let found: Vec<_> = found.trim().lines().collect();
    let differ: Vec<_> = found
        .iter()
        .filter(|line| !wanted.contains(line))
        .chain(wanted.iter().filter(|line| !found.contains(line)))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn the_fixture_is_what_the_matrix_needs() {
    LIFE.assert_is_rich();
}

#[test]
fn config_and_keys_are_there_twice() {
    check(
        &[
            Target::Config,
            Target::ConfigCopy,
            Target::Slot,
            Target::SlotCopy,
        ],
        "
        Config Flip: check: it healed | harmless
        Config Truncate: check: it healed | harmless
        Config Delete: check: it healed | harmless
        Config Swap: check: it healed | harmless
        ConfigCopy Flip: check: it healed | harmless
        ConfigCopy Truncate: check: it healed | harmless
        ConfigCopy Delete: check: it healed | harmless
        ConfigCopy Swap: check: it healed | harmless
        Slot Flip: check: it healed, keys healed | harmless
        Slot Truncate: check: it healed, keys healed | harmless
        Slot Delete: check: it healed | harmless
        Slot Swap: check: it healed, keys healed | harmless
        SlotCopy Flip: check: it healed, keys healed | harmless
        SlotCopy Truncate: check: it healed, keys healed | harmless
        SlotCopy Delete: check: it healed | harmless
        SlotCopy Swap: check: it healed, keys healed | harmless
        ",
    );
}

#[test]
fn small_records_are_named_and_never_guessed() {
    check(&[Target::Session, Target::End, Target::Forgotten], "
        Session Flip: check: it hits none | harmless
        Session Truncate: check: it hits none | harmless
        Session Delete: check: clean | harmless
        Session Swap: check: it hits none, sessions hits none | harmless
        End Flip: check: it hits 1 | restores 023 | same: saved, restores 023 | next: saved, restores 023 | prune: refused for end
        End Truncate: check: it hits 1 | restores 023 | same: saved, restores 023 | next: saved, restores 023 | prune: refused for end
        End Delete: check: its absence hits ? | restores 023 | same: saved, restores 023 | next: saved, restores 023 | prune: pruned, swept
        End Swap: check: end hits 0, it hits 1 | restores 23 | same: saved, restores 23 | next: saved, restores 23 | prune: refused for end
        Forgotten Flip: check: it hits none | harmless
        Forgotten Truncate: check: it hits none | harmless
        Forgotten Delete: check: clean | harmless
        Forgotten Swap: check: forgotten hits none, it hits none | harmless
        ");
}

#[test]
fn what_is_condemned_or_settled_is_never_guessed() {
    check(&[Target::Tombstone, Target::Settled], "
        Tombstone Flip: check: it hits none | restores 0123 | same: refused for gc | next: refused for gc | prune: refused for gc
        Tombstone Truncate: check: it hits none | restores 0123 | same: refused for gc | next: refused for gc | prune: refused for gc
        Tombstone Delete: check: clean | harmless
        Tombstone Swap: check: gc hits none, it hits none | restores 0123 | same: refused for gc | next: refused for gc | prune: refused for gc
        Settled Flip: check: it hits none | restores 0123 | same: refused for settled | next: refused for settled | prune: refused for settled
        Settled Truncate: check: it hits none | restores 0123 | same: refused for settled | next: refused for settled | prune: refused for settled
        Settled Delete: check: clean | harmless
        Settled Swap: check: it hits none, settled hits none | restores 0123 | same: refused for settled | next: refused for settled | prune: refused for settled
        ");
}

#[test]
fn an_index_segment_is_a_hint() {
    check(
        &[Target::Index],
        "
        Index Flip: check: it healed | harmless
        Index Truncate: check: it healed | harmless
        Index Delete: check: clean | harmless
        Index Swap: check: clean | harmless
        ",
    );
}

#[test]
fn a_data_pack_takes_with_it_what_stands_on_it() {
    check(
        &[Target::DataBody, Target::DataFooter, Target::DataTrailer],
        "
        DataBody Flip: structure: clean | data: it hits 0123 | restores none | same: saved on damage, restores none | next: saved on damage, restores none | prune: pruned, swept
        DataBody Truncate: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataBody Delete: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataBody Swap: check: it hits 0123, packs hits 3 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataFooter Flip: check: it healed | harmless
        DataFooter Truncate: check: it healed | harmless
        DataFooter Delete: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataFooter Swap: check: it hits 0123, packs hits 3 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataTrailer Flip: structure: clean | data: it healed | harmless
        DataTrailer Truncate: check: it healed | harmless
        DataTrailer Delete: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        DataTrailer Swap: check: it hits 0123, packs hits 3 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for packs
        ",
    );
}

#[test]
fn a_meta_pack_takes_with_it_what_stands_on_it() {
    check(
        &[Target::MetaBody, Target::MetaFooter, Target::MetaTrailer],
        "
        MetaBody Flip: structure: what lies in it hits 3 | data: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for box
        MetaBody Truncate: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for packs
        MetaBody Delete: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for packs
        MetaBody Swap: check: it hits 3, packs hits 2 | restores 01 | same: saved, restores 013 | next: saved, restores 01 | prune: refused for packs
        MetaFooter Flip: check: it healed | harmless
        MetaFooter Truncate: check: it healed | harmless
        MetaFooter Delete: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for packs
        MetaFooter Swap: check: it hits 3, packs hits 2 | restores 01 | same: saved, restores 013 | next: saved, restores 01 | prune: refused for packs
        MetaTrailer Flip: structure: clean | data: it healed | harmless
        MetaTrailer Truncate: check: it healed | harmless
        MetaTrailer Delete: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for packs
        MetaTrailer Swap: check: it hits 3, packs hits 2 | restores 01 | same: saved, restores 013 | next: saved, restores 01 | prune: refused for packs
        ",
    );
}

#[test]
fn a_pack_that_nothing_names_is_blamed_for_what_is_nowhere() {
    check(&[Target::LoneData, Target::LoneMeta], "
        LoneData Flip: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for segment
        LoneData Truncate: check: it hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for segment
        LoneData Delete: check: chunk hits 0123 | restores none | same: saved, restores 3 | next: saved, restores none | prune: refused for segment
        LoneData Swap: check: clean | harmless
        LoneMeta Flip: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for chunk
        LoneMeta Truncate: check: it hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for chunk
        LoneMeta Delete: check: chunk hits 3 | restores 012 | same: saved, restores 0123 | next: saved, restores 012 | prune: refused for chunk
        LoneMeta Swap: check: clean | harmless
        ");
}
