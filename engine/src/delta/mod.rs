//! Deltas: a run of new bytes told as copies out of an older stream and the bytes that are not in it.
//!
//! Pure computation over slices: nothing here reads, writes, compresses or knows what a chunk id is.
//! The invariant of the whole folder: the steps for a run, carried out in order, make exactly that run,
//! and every copy lies inside the window of the parent that was shown.

mod align;
mod anchors;
mod best;
mod budget;
mod bytes;
mod cut;
mod far;
mod fill;
mod grams;
mod line;
mod near;
mod search;
mod walk;

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod tests;

pub use align::{AlignOptions, Aligner};
pub use cut::cut_steps;

/// One step in making a run of new bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bytes of the new stream itself, from offset `at` of that stream.
    Literal {
        /// Offset in the new stream.
        at: u64,
        /// Length in bytes, never 0.
        len: u32,
    },
    /// Bytes of the parent stream, from offset `from` of that stream.
    Copy {
        /// Offset in the parent stream.
        from: u64,
        /// Length in bytes, never 0.
        len: u32,
    },
}

impl Step {
    /// How many bytes of the run this step makes.
    pub fn len_bytes(&self) -> u32 {
        match *self {
            Self::Literal { len, .. } | Self::Copy { len, .. } => len,
        }
    }

    /// The part of this step that begins `skip` bytes into it and is `len` bytes long.
    #[must_use]
    fn part(&self, skip: u32, len: u32) -> Self {
        match *self {
            Self::Literal { at, .. } => Self::Literal {
                at: at + u64::from(skip),
                len,
            },
            Self::Copy { from, .. } => Self::Copy {
                from: from + u64::from(skip),
                len,
            },
        }
    }
}
