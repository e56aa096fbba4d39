//! Redis, against the real server.

mod capture;
mod crash;
mod data;
mod export;
mod meanwhile;
mod preflight;
mod reach;
mod restore;
mod selective;
