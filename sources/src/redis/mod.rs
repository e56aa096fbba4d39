//! Redis.

pub mod format;
pub mod glob;
pub mod rdb;
pub mod record;
