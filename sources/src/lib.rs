//! Benches of Keepstone.

#[cfg(feature = "command")]
pub mod command;
