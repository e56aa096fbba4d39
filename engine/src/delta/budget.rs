//! The budget of an aligner: how much searching it may still do.
//!
//! One unit is about the time to hash one gram and look it up, 1 to 2 ns. Searching is paid for by what
//! it has saved so far, so that a stream in which nothing matches costs little more than storing it.

/// What a new stream may spend before it has matched anything: a few passes over a small file.
const START: usize = 1 << 20;
/// Most that can be saved up, so that a good beginning does not pay for a long bad end.
const MAX: usize = 1 << 22;
/// New bytes that earn one unit, whether they match or not: about a tenth of the time to compress them.
const RUN_BYTES_PER_UNIT: usize = 12;
/// Units for each byte that need not be stored: about the time to compress it.
const UNITS_PER_MATCH_BYTE: usize = 2;

/// Units of work left.
#[derive(Debug)]
pub(super) struct Budget {
    units: usize,
    spent: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            units: START,
            spent: 0,
        }
    }

    /// Earns what any run earns.
    pub(super) fn earn_for_run(&mut self, len: usize) {
        self.earn(len / RUN_BYTES_PER_UNIT);
    }

    /// Earns for bytes that were found in the parent.
    pub(super) fn earn_for_match(&mut self, len: usize) {
        self.earn(UNITS_PER_MATCH_BYTE * len);
    }

    fn earn(&mut self, units: usize) {
        self.units = (self.units + units).min(MAX);
    }

    pub(super) fn affords(&self, units: usize) -> bool {
        self.units >= units
    }

    pub(super) fn spend(&mut self, units: usize) {
        self.units = self.units.saturating_sub(units);
        self.spent += units as u64;
    }

    /// All units that were ever spent.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }
}

/// Units to look at a place that may match and turns out to agree so far.
pub(super) fn comparing(len: usize) -> usize {
    8 + len / 32
}
