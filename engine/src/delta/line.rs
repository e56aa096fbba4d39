//! Straight ahead: bytes that were changed in place, so that both streams go on side by side.

use super::best::{Best, WEAK_MIN};
use super::grams::is_run;
use super::walk::Walk;

/// Bytes of the run in which no match on the line is missed.
const CLOSE: usize = 512;
/// Where further along the line it is probed.
const PROBES: [usize; 9] = [512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192];

/// Offers the first match on the line of the walk.
pub(super) fn search(walk: &Walk<'_>, best: &mut Best) {
    let mut step = 1;
    while step < CLOSE {
        let Some((new, parent)) = grams(walk, step) else {
            return;
        };
        match last_difference(new, parent) {
            // Whatever begins before a difference ends there.
            Some(place) => step += place + 1,
            None if is_run(new) => step += WEAK_MIN,
            None => return best.offer(walk, walk.extend(walk.at + step, walk.from + step)),
        }
    }
    for step in PROBES {
        let Some((new, parent)) = grams(walk, step) else {
            return;
        };
        if new == parent && !is_run(new) {
            return best.offer(walk, walk.extend(walk.at + step, walk.from + step));
        }
    }
}

type Gram = [u8; WEAK_MIN];

fn grams<'a>(walk: &Walk<'a>, step: usize) -> Option<(&'a Gram, &'a Gram)> {
    Some((
        walk.new_gram(walk.at + step)?,
        walk.parent_gram(walk.from + step)?,
    ))
}

fn last_difference(a: &Gram, b: &Gram) -> Option<usize> {
    let words = a
        .as_chunks::<8>()
        .0
        .iter()
        .zip(b.as_chunks::<8>().0)
        .enumerate();
    words.rev().find_map(|(number, (x, y))| {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        (difference != 0).then(|| number * 8 + 7 - difference.leading_zeros() as usize / 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_difference_is_found_to_the_byte() {
        let a = [7; WEAK_MIN];
        assert_eq!(last_difference(&a, &a), None);
        for place in 0..WEAK_MIN {
            let mut b = a;
            b[place] = 9;
            b[place / 2] = 8;
            assert_eq!(last_difference(&a, &b), Some(place));
        }
    }
}
