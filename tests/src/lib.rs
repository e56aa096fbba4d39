//! Test kit: a capture in memory, real servers on free ports, backends that fail on purpose.

pub mod memory;
pub mod proxy;
pub mod servers;
