//! Integration tests.

mod backend;
mod fuzz;
mod tidy;
mod command;
mod files;
mod redis;
mod postgres;
