//! Restores over several file systems: each has room of its own, and what is mounted somewhere is nobody's to remove.

use std::fs;

use keepstone_engine::source::SourceErrorKind;
use keepstone_sources::files::Act;

use super::tree::{Mount, Place, assert_same, restore, restore_well, write};

#[test]
fn what_fits_on_a_file_system_below_the_target_is_not_refused_for_a_small_one_above() {
    let place = Place::new();
    write(place.source().join("big"), vec![1; 3 << 20]);
    let _small = Mount::tmpfs(&place.target(), "1m");
    let _large = Mount::tmpfs(&place.restored(), "16m");
    let mut options = place.options();
    options.sync = true;
    restore_well(&place.capture(), &options);
    assert_same(&place.source(), &place.restored());
}

#[test]
fn a_file_system_below_the_target_that_is_too_small_is_named_beforehand() {
    let place = Place::new();
    write(place.source().join("big"), vec![1; 3 << 20]);
    let _large = Mount::tmpfs(&place.target(), "16m");
    let _small = Mount::tmpfs(&place.restored(), "1m");
    let error = restore(&place.capture(), &place.options()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace);
    let named = format!("{} has ", place.restored().display());
    assert!(error.to_string().contains(&named), "{error}");
    assert_eq!(fs::read_dir(place.restored()).unwrap().count(), 0);
}

#[test]
fn delete_does_not_go_through_what_is_bound_from_the_same_file_system() {
    let place = Place::new();
    write(place.source().join("file"), "file");
    let captured = place.capture();
    restore_well(&captured, &place.options());
    write(place.outside().join("precious"), "precious");
    write(place.restored().join("extra/file"), "extra");
    let _bound = Mount::bind(&place.outside(), &place.restored().join("bound/here"));
    let mut options = place.options();
    options.delete = true;
    let report = restore_well(&captured, &options);
    assert_eq!(report.count(Act::Delete), 2, "{:?}", report.changes);
    assert!(place.outside().join("precious").exists());
    assert!(!place.restored().join("extra").exists());
}
