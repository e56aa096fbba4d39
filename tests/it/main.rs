//! Integration tests: one binary, so that the dependencies are linked once.

mod backend;
mod cli;
mod command;
mod files;
mod fuzz;
mod lifecycle;
mod postgres;
mod redis;
mod sqlite;
mod tidy;
