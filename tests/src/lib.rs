//! Test kit: a capture in memory, real servers on free ports, backends that fail on purpose.

pub mod binary;
pub mod crash;
pub mod faulty;
pub mod folders;
#[path = "../../fuzz/targets/mod.rs"]
pub mod fuzz_targets;
pub mod meanwhile;
pub mod memory;
pub mod mutate;
pub mod proxy;
pub mod recording;
pub mod scripted;
pub mod servers;
pub mod tools;
pub mod waiting;
