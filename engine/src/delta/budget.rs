//! The budget of an aligner: how much searching it may still do.
//!
//! One unit is about the time to hash one gram and look it up, 1 to 2 ns. Searching is paid for by what
//! it has saved so far, so that a stream in which nothing matches costs little more than storing it.

/// What a new stream may spend before it has matched anything: two passes over a small file.
const START: usize = 1 << 20;
/// Most that can be saved up, so that a good beginning does not pay for a long bad end.
const MAX: usize = 1 << 22;
/// New bytes that earn one unit, whether they match or not: a tenth of the time to compress them.
const RUN_BYTES_PER_UNIT: usize = 12;

/// Units of work left.
#[derive(Debug)]
pub(super) struct Budget {
    units: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { units: START }
    }

    /// Earns what any run earns.
    pub(super) fn earn_for_run(&mut self, len: usize) {
        self.earn(len / RUN_BYTES_PER_UNIT);
    }

    /// Earns for bytes that need not be stored: less than the time to compress them.
    pub(super) fn earn_for_match(&mut self, len: usize) {
        self.earn(2 * len);
    }

    fn earn(&mut self, units: usize) {
        self.units = (self.units + units).min(MAX);
    }

    pub(super) fn affords(&self, units: usize) -> bool {
        self.units >= units
    }

    pub(super) fn spend(&mut self, units: usize) {
        self.units = self.units.saturating_sub(units);
    }
}
