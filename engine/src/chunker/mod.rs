//! The chunker: bytes in, cut points out. No I/O.
//!
//! FastCDC (Xia et al., USENIX ATC 2016; the 2020 form) with a seed per repository. In a stream of records the cut
//! falls on the first record boundary after the content-defined one. `repo-format.md` § Chunking.

use fastcdc::v2020::{FastCDC, Normalization};

use crate::source::Profile;

/// Sizes of chunks in bytes: least, aimed at, most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    min: usize,
    avg: usize,
    max: usize,
}

impl ChunkSizes {
    /// What every repository of this format uses.
    pub const STANDARD: Self = Self {
        min: 32 * 1024,
        avg: 128 * 1024,
        max: 512 * 1024,
    };

    /// Most bytes of one chunk; a record that is longer is split.
    pub fn max(self) -> usize {
        self.max
    }
}

/// Cuts one stream; keeps nothing but its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Chunker {
    sizes: ChunkSizes,
    seed: u64,
    profile: Profile,
}

impl Chunker {
    /// A chunker of the repository's seed.
    pub fn new(sizes: ChunkSizes, seed: u64, profile: Profile) -> Self {
        Self {
            sizes,
            seed,
            profile,
        }
    }

    /// Appends the ends of the chunks of `bytes`, which begin at a cut. Unless the stream ends here (`last`), the tail
    /// that more bytes could still lengthen is left uncut. `boundaries`: ends of records within `bytes`, ascending.
    pub fn cut(&self, bytes: &[u8], boundaries: &[usize], last: bool, ends: &mut Vec<usize>) {
        match self.profile {
            Profile::Pages => self.cut_pages(bytes.len(), last, ends),
            Profile::Bytes => self.cut_content(bytes, last, ends),
            Profile::Records => self.cut_records(bytes, boundaries, last, ends),
        }
    }

    fn cut_pages(&self, length: usize, last: bool, ends: &mut Vec<usize>) {
        let whole = length / self.sizes.avg;
        ends.extend((1..=whole).map(|page| page * self.sizes.avg));
        if last && whole * self.sizes.avg < length {
            ends.push(length);
        }
    }

    fn cut_content(&self, bytes: &[u8], last: bool, ends: &mut Vec<usize>) {
        let mut at = 0;
        while at < bytes.len() {
            let Some(end) = self.next_cut(bytes, at, last) else {
                break;
            };
            ends.push(end);
            at = end;
        }
    }

    /// The content-defined cut after `at`; none if more bytes could move it.
    fn next_cut(&self, bytes: &[u8], at: usize, last: bool) -> Option<usize> {
        let rest = bytes.get(at..)?;
        if !last && rest.len() < self.sizes.max {
            return None;
        }
        let ChunkSizes { min, avg, max } = self.sizes;
        let mut cutter =
            FastCDC::with_level_and_seed(rest, min, avg, max, Normalization::Level2, self.seed);
        cutter.next().map(|chunk| at + chunk.length)
    }

    fn cut_records(&self, bytes: &[u8], boundaries: &[usize], last: bool, ends: &mut Vec<usize>) {
        let mut at = 0;
        let mut next_boundary = 0;
        while at < bytes.len() {
            let Some(content_end) = self.next_cut(bytes, at, last) else {
                break;
            };
            while boundaries
                .get(next_boundary)
                .is_some_and(|end| *end < content_end)
            {
                next_boundary += 1;
            }
            let hard_end = at + self.sizes.max;
            let end = match boundaries.get(next_boundary) {
                Some(end) if *end <= hard_end => *end,
                // The boundary may still come, unless the record is too long by now.
                None if !last && bytes.len() < hard_end => break,
                None if last && bytes.len() <= hard_end => bytes.len(),
                _ => hard_end,
            };
            ends.push(end);
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        blake3::Hasher::new()
            .update(&[seed])
            .finalize_xof()
            .fill(&mut out);
        out
    }

    fn cut(profile: Profile, bytes: &[u8], boundaries: &[usize]) -> Vec<usize> {
        let mut ends = vec![];
        Chunker::new(ChunkSizes::STANDARD, 42, profile).cut(bytes, boundaries, true, &mut ends);
        ends
    }

    /// Known answers: do not regenerate. A change here stores every stream of every repository again.
    #[test]
    fn cut_points_never_change() {
        let bytes = noise(1, 2_000_000);
        let hash = |ends: &[usize]| {
            let text: Vec<_> = ends.iter().map(ToString::to_string).collect();
            blake3::hash(text.join(",").as_bytes())
                .to_string()
                .chars()
                .take(16)
                .collect::<String>()
        };
        assert_eq!(hash(&cut(Profile::Bytes, &bytes, &[])), GOLDEN_BYTES);
        let boundaries: Vec<_> = (1..=20_000).map(|n| n * 100).collect();
        assert_eq!(
            hash(&cut(Profile::Records, &bytes, &boundaries)),
            GOLDEN_RECORDS
        );
    }

    const GOLDEN_BYTES: &str = "d3fc8fb226f412f3";
    const GOLDEN_RECORDS: &str = "6df926360312c40b";

    #[test]
    fn cuts_do_not_depend_on_how_the_stream_arrives() {
        let bytes = noise(2, 3_000_000);
        let boundaries: Vec<_> = (1..=3000).map(|n| n * 1000).collect();
        for profile in [Profile::Bytes, Profile::Records, Profile::Pages] {
            let whole = cut(profile, &bytes, &boundaries);
            let chunker = Chunker::new(ChunkSizes::STANDARD, 42, profile);
            let (mut ends, mut start, mut have) = (vec![], 0, 0);
            while start < bytes.len() {
                have = (have + 700_001).min(bytes.len());
                let last = have == bytes.len();
                let mut found = vec![];
                let within: Vec<_> = boundaries
                    .iter()
                    .filter(|end| **end > start && **end <= have)
                    .map(|end| end - start)
                    .collect();
                chunker.cut(&bytes[start..have], &within, last, &mut found);
                ends.extend(found.iter().map(|end| start + end));
                start = ends.last().copied().unwrap_or(0);
            }
            assert_eq!(ends, whole, "{profile:?}");
        }
    }

    #[test]
    fn records_are_cut_between_records_unless_one_is_too_long() {
        let bytes = noise(3, 4_000_000);
        let boundaries: Vec<_> = (1..=1000).map(|n| n * 999).chain([4_000_000]).collect();
        let ends = cut(Profile::Records, &bytes, &boundaries);
        assert_eq!(ends.last(), Some(&4_000_000));
        for end in &ends {
            assert!(boundaries.contains(end) || *end > 999_000, "{end}");
        }
        let longest = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= ChunkSizes::STANDARD.max());
    }

    #[test]
    fn cuts_survive_an_insertion() {
        let bytes = noise(4, 4_000_000);
        let mut longer = bytes.clone();
        longer.splice(1_000_000..1_000_000, [1, 2, 3]);
        let before: std::collections::BTreeSet<_> = cut(Profile::Bytes, &bytes, &[])
            .into_iter()
            .filter(|end| *end > 2_000_000)
            .collect();
        let after: std::collections::BTreeSet<_> = cut(Profile::Bytes, &longer, &[])
            .into_iter()
            .filter(|end| *end > 2_000_003)
            .map(|end| end - 3)
            .collect();
        assert!(before.intersection(&after).count() + 2 >= before.len());
    }
}
