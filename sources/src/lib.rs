//! Benches of Keepstone.

#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "sqlite")]
pub mod sqlite;
