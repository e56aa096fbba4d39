//! Keepstone's engine: keeps streams of records and bytes as snapshots in a repository, for the price of their
//! changes, and brings any of them back.
//!
//! Reading order: `limits`, `id`, `path` (words), `source` (the seam), `backend` (where a
//! repository lies).

pub mod backend;
pub mod id;
pub mod limits;
pub mod path;
pub mod source;
