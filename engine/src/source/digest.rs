//! Order-independent digest of a collection: equal collections have equal digests in any order.
//!
//! Specified in `repo-format.md` § Record digest: the sum, modulo 2^256, of the BLAKE3 hash of every
//! canonical record, read as a little-endian number. Adding and removing a record are exact inverses, so
//! a record that expired meanwhile can leave the sum.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A running sum over canonical records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordDigest {
    limbs: [u64; 4],
    count: u64,
}

impl RecordDigest {
    /// Starts with the empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one canonical record.
    pub fn add(&mut self, record: &[u8]) {
        self.add_limbs(limbs_of(blake3::hash(record).as_bytes()));
        self.count = self.count.wrapping_add(1);
    }

    /// Removes one canonical record that had been added.
    pub fn remove(&mut self, record: &[u8]) {
        let limbs = limbs_of(blake3::hash(record).as_bytes());
        let mut borrow = false;
        for (mine, theirs) in self.limbs.iter_mut().zip(limbs) {
            let (a, b1) = mine.overflowing_sub(theirs);
            let (b, b2) = a.overflowing_sub(u64::from(borrow));
            *mine = b;
            borrow = b1 || b2;
        }
        self.count = self.count.wrapping_sub(1);
    }

    /// Adds a digest of other records, for example from a parallel reader.
    pub fn merge(&mut self, other: &Self) {
        self.add_limbs(other.limbs);
        self.count = self.count.wrapping_add(other.count);
    }

    /// How many records are in the sum.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The digest as it is recorded.
    pub fn finish(&self) -> Digest {
        let mut bytes = [0; 32];
        for (out, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            out.copy_from_slice(&limb.to_le_bytes());
        }
        Digest(bytes)
    }

    fn add_limbs(&mut self, limbs: [u64; 4]) {
        let mut carry = false;
        for (mine, theirs) in self.limbs.iter_mut().zip(limbs) {
            let (a, c1) = mine.overflowing_add(theirs);
            let (b, c2) = a.overflowing_add(u64::from(carry));
            *mine = b;
            carry = c1 || c2;
        }
    }
}

fn limbs_of(hash: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(hash.chunks_exact(8)) {
        *limb = bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    limbs
}

/// A finished digest, 32 bytes; in text 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of the records of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut sum = RecordDigest {
            limbs: limbs_of(&self.0),
            count: 0,
        };
        sum.add_limbs(limbs_of(&other.0));
        sum.finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::id::parse_hex(text)
            .map(Self)
            .ok_or_else(|| "not 64 hexadecimal digits".into())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes_addition() {
        let records: [&[u8]; 3] = [b"a", b"b", b"c"];
        let mut forward = RecordDigest::new();
        records.iter().for_each(|record| forward.add(record));
        let mut backward = RecordDigest::new();
        records.iter().rev().for_each(|record| backward.add(record));
        assert_eq!(forward, backward);
        backward.add(b"d");
        assert_ne!(forward.finish(), backward.finish());
        backward.remove(b"d");
        assert_eq!(forward, backward);
    }

    #[test]
    fn a_record_twice_is_not_a_record_once() {
        let mut twice = RecordDigest::new();
        twice.add(b"a");
        twice.add(b"a");
        let mut once = RecordDigest::new();
        once.add(b"a");
        assert_ne!(twice.finish(), once.finish());
        assert_eq!(twice.count(), 2);
    }
    #[test]
    fn digests_of_parts_add_up_to_that_of_the_whole() {
        let of = |records: &[u32]| {
            let mut digest = RecordDigest::new();
            records
                .iter()
                .for_each(|record| digest.add(&record.to_le_bytes()));
            digest.finish()
        };
        let all: Vec<u32> = (0..200).collect();
        let parts = all.chunks(7).map(of);
        assert_eq!(parts.fold(Digest::default(), Digest::plus), of(&all));
    }
}
