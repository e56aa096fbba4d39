//! Integration tests: one binary, so that the dependencies are linked once.

mod backend;
mod cache;
mod cli;
mod command;
mod files;
mod fuzz;
mod lifecycle;
mod many_writers;
mod pin;
mod postgres;
mod reader;
mod redis;
mod spec;
mod sqlite;
mod tidy;
