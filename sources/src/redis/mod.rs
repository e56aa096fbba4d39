//! Redis.

mod capture;
mod client;
mod collect;
pub mod format;
pub mod glob;
mod marker;
pub mod rdb;
pub mod record;
mod replica;
mod resp;
mod scan;
mod server;
mod settings;
mod sort;
mod spool;

pub use capture::RedisSource;
pub use settings::{CaptureMethod, RedisSettings};
