//! Integration tests.

mod command;
