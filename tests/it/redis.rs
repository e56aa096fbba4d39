//! Redis, against the real server.

mod capture;
mod data;
