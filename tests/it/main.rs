//! Integration tests.
mod redis;
