//! What the benches share: seeded data, measured processes, tables and plots.
//!
//! Everything generated here is a function of a seed, so that two machines measure the same bytes wherever the
//! system that holds them lets us (Redis orders its keys by a seed of its own).

pub mod args;
pub mod churn;
pub mod disk;
pub mod error;
pub mod measure;
pub mod pairs;
pub mod plot;
pub mod report;
pub mod rng;
pub mod tool;
