//! Integration tests: one binary, so that the dependencies are linked once.

mod backend;
mod cache;
mod cli;
mod command;
mod cost;
mod counted;
mod damage;
mod faults;
mod files;
mod fuzz;
mod hostile;
mod journal;
mod lifecycle;
mod many_writers;
mod model;
mod moved;
mod pin;
mod postgres;
mod reader;
mod redis;
mod spec;
mod sqlite;
mod store;
mod taken_back;
mod tidy;
mod written;
