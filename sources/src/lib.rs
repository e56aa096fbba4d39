//! Benches of Keepstone.

#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "sqlite")]
pub mod sqlite;
//! The systems Keepstone protects, one folder each, behind cargo features.
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "postgres")]
pub mod postgres;
