//! Restoring: a capture read back, and rebuilt into a live system in steps that survive a kill.

mod items;

pub use items::{CapturedItems, source_failed};
