//! Redis, against the real server.

mod capture;
mod crash;
mod data;
mod export;
mod preflight;
mod reach;
mod restore;
mod selective;
