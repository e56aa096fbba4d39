//! Real servers, each started on a free port of its own and stopped when dropped.

pub mod minio;
pub mod postgres;
pub mod postgres_proxy;
pub mod redis;
