//! Benches of Keepstone.

#[cfg(feature = "files")]
pub mod files;
