//! Restoring: a capture read back, exported as files, or rebuilt into a live system in steps that survive a kill.

mod export;
mod items;
mod journal;
mod target;

pub use export::{ExportedFile, export_to_folder, export_to_writer};
pub use items::{CapturedItems, source_failed};
pub use journal::{HeldEntry, Journal, JournalEntry};
pub use target::{
    Recovery, RestoreReport, discard, is_unfinished, recover, restore_to, rollback, unfinished,
};
