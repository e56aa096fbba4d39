//! Benches of Keepstone.
