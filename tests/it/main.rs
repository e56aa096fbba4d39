//! Integration tests.

mod fuzz;
mod tidy;
mod backend;
