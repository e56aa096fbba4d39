//! Integration tests.

mod backend;
mod command;
mod files;
mod fuzz;
mod postgres;
mod redis;
mod tidy;
