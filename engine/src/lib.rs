//! Keepstone's engine: keeps streams of records and bytes as snapshots in a repository, for the price of their
//! changes, and brings any of them back.
//!
//! Reading order: `limits`, `id`, `path` (words), `source` (the seam).

pub mod id;
pub mod limits;
pub mod path;
pub mod progress;
pub mod retention;
pub mod source;
