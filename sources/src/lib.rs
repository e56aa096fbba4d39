//! Benches of Keepstone.

#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "sqlite")]
pub mod sqlite;
