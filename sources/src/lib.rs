//! Benches of Keepstone.

#[cfg(feature = "postgres")]
pub mod postgres;
