//! How far two byte strings agree, compared a block at a time.

/// Length of the common beginning.
pub(super) fn match_len(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0);
    let blocks_equal = blocks.take_while(|(x, y)| x == y).count() * 32;
    let (a, b) = (
        a.get(blocks_equal..).unwrap_or(&[]),
        b.get(blocks_equal..).unwrap_or(&[]),
    );
    let mut equal = blocks_equal;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return equal + difference.trailing_zeros() as usize / 8;
        }
        equal += 8;
    }
    let words_equal = equal - blocks_equal;
    let tails = a.iter().skip(words_equal).zip(b.iter().skip(words_equal));
    equal + tails.take_while(|(x, y)| x == y).count()
}

/// Length of the common end.
pub(super) fn match_len_back(a: &[u8], b: &[u8]) -> usize {
    let mut equal = 0;
    for (x, y) in a
        .as_rchunks::<8>()
        .1
        .iter()
        .rev()
        .zip(b.as_rchunks::<8>().1.iter().rev())
    {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return equal + difference.leading_zeros() as usize / 8;
        }
        equal += 8;
    }
    let heads = a.iter().rev().skip(equal).zip(b.iter().rev().skip(equal));
    equal + heads.take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_common_beginning_and_end_are_measured_to_the_byte(
            same in prop::collection::vec(0..2u8, 0..100),
            a in prop::collection::vec(0..2u8, 0..70),
            b in prop::collection::vec(0..2u8, 0..70),
        ) {
            let slow = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(x, y)| x == y).count();
            let join = |x: &[u8], y: &[u8]| [x, y].concat();
            let (front_a, front_b) = (join(&same, &a), join(&same, &b));
            prop_assert_eq!(match_len(&front_a, &front_b), slow(&front_a, &front_b));
            let (mut back_a, mut back_b) = (join(&a, &same), join(&b, &same));
            let measured = match_len_back(&back_a, &back_b);
            back_a.reverse();
            back_b.reverse();
            prop_assert_eq!(measured, slow(&back_a, &back_b));
        }
    }
}
