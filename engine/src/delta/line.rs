//! Straight ahead: bytes that were changed in place, so that both streams go on side by side.

use super::best::{Best, WEAK_MIN};
use super::grams::{WIDE, is_run};
use super::walk::{Match, Walk};

/// Bytes of the run in which every difference is looked at.
const EVERY_BYTE: usize = 64;
/// Where further along the line it is probed.
const PROBES: [usize; 14] = [
    96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
];

/// Offers the first match on the line of the walk.
pub(super) fn search(walk: &Walk<'_>, best: &mut Best) {
    let mut step = 1;
    while step <= EVERY_BYTE {
        let line = Walk {
            at: walk.at + step,
            from: walk.from + step,
            ..*walk
        };
        let Some(gram) = line.new_gram::<WEAK_MIN>(line.at) else {
            return;
        };
        if line.from >= line.parent.len() {
            return;
        }
        let alike = line.alike();
        if alike >= WEAK_MIN && !is_run(gram) {
            return best.offer(
                walk,
                Match {
                    at: line.at,
                    from: line.from,
                    len: alike,
                },
            );
        }
        step += alike + 1;
    }
    for step in PROBES {
        let (at, from) = (walk.at + step, walk.from + step);
        let Some(gram) = walk.new_gram::<WIDE>(at) else {
            return;
        };
        if walk.parent_gram(from) == Some(gram) && !is_run(gram) {
            return best.offer(walk, walk.extend(at, from));
        }
    }
}
