//! Benches of Keepstone.

pub mod hours;
