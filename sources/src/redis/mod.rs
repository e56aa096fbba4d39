//! Redis.

mod capture;
mod client;
mod collect;
mod commands;
mod export;
pub mod format;
pub mod glob;
mod marker;
mod plan;
pub mod rdb;
mod rebuild;
pub mod record;
mod replica;
mod resp;
mod scan;
mod server;
mod settings;
mod sort;
mod spool;
mod stage;
mod switch;
mod transaction;
mod validate;

pub use capture::RedisSource;
pub use export::RedisExport;
pub use plan::{PrefixChange, RedisRestoreOptions, Ttl};
pub use rebuild::RedisTarget;
pub use settings::{CaptureMethod, RedisSettings};
