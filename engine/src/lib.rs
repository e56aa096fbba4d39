//! Keepstone's engine: keeps streams of records and bytes as snapshots in a repository, for the price of their
//! changes, and brings any of them back.
//!
//! Reading order: `limits`, `id`, `path` (words), `source` (the seam), `codec`, `crypto`, `compress`, `chunker`, `delta`
//! (pure), `segment`, `record`, `pack`, `index`, `tree`, `snapshot`, `session` (what is kept), `backend` (where a
//! repository lies), `repo`, then the operations.

pub mod backend;
pub mod backup;
pub mod cache;
pub mod check;
pub mod chunker;
pub mod codec;
pub mod compress;
pub mod crypto;
pub mod delta;
pub mod error;
pub mod forget;
pub mod id;
pub mod index;
pub mod limits;
pub mod pack;
pub mod path;
pub mod progress;
pub mod prune;
pub mod record;
pub mod repo;
pub mod restore;
pub mod retention;
pub mod segment;
pub mod session;
pub mod snapshot;
pub mod source;
pub mod tree;
pub mod undelete;

pub use error::{Error, Result};
