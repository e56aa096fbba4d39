//! Integration tests.

mod backend;
mod fuzz;
mod tidy;
