//! Redis, against the real server.

mod capture;
mod crash;
mod data;
mod export;
mod idle;
mod marks;
mod meanwhile;
mod older;
mod preflight;
mod reach;
mod restore;
mod selective;
