//! The systems Keepstone protects, one folder each, behind cargo features.

#[cfg(feature = "redis")]
pub mod redis;
