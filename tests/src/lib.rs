//! Test kit: a capture in memory, real servers on free ports, backends that fail on purpose.

pub mod crash;
pub mod faulty;
pub mod memory;
pub mod recording;
pub mod servers;
