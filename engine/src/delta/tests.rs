//! The promises of the whole folder, on random streams.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Carries the steps out, and checks on the way that each is in its place and inside the window.
pub(super) fn rebuild(
    steps: &[Step],
    new: &[u8],
    new_at: u64,
    parent: &[u8],
    parent_at: u64,
) -> Vec<u8> {
    let piece = |bytes: &[u8], base: u64, at: u64, len: u32| {
        let start = usize::try_from(at.checked_sub(base).unwrap()).unwrap();
        bytes[start..start + len as usize].to_vec()
    };
    let mut made = Vec::new();
    for step in steps {
        assert!(step.len_bytes() > 0, "an empty step");
        made.extend(match *step {
            Step::Literal { at, len } => {
                assert_eq!(at, new_at + made.len() as u64, "a literal out of its place");
                piece(new, new_at, at, len)
            }
            Step::Copy { from, len } => piece(parent, parent_at, from, len),
        });
    }
    made
}

/// A stream that is made of pieces of the other, with noise between.
fn edited(parent: &[u8], edits: &[(Index, u16, u8, u16)]) -> Vec<u8> {
    let mut new = Vec::new();
    for (place, copied, byte, inserted) in edits {
        let start = place.index(parent.len() + 1);
        let end = parent.len().min(start + usize::from(*copied));
        new.extend_from_slice(&parent[start..end]);
        let noise = (0..*inserted).map(|n| byte.wrapping_mul(31).wrapping_add((n % 251) as u8));
        new.extend(noise);
    }
    new
}

fn edits() -> impl Strategy<Value = Vec<(Index, u16, u8, u16)>> {
    prop::collection::vec((any::<Index>(), 0..3000u16, any::<u8>(), 0..300u16), 0..20)
}

/// Streams of noise, of very few different bytes, and of one.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let of = |alphabet: u8, len: usize| prop::collection::vec(0..=alphabet, 0..len);
    prop_oneof![of(255, 20_000), of(1, 20_000), of(0, 3000)]
}

proptest! {
    #[test]
    fn steps_make_exactly_the_run_from_any_window_and_any_place(
        parent in stream(),
        edits in edits(),
        calls in prop::collection::vec((any::<Index>(), any::<Index>(), any::<Index>()), 1..5),
        beyond in 0..2000u64,
        new_at in 0..1_000_000u64,
        base in 0..u64::MAX / 2,
    ) {
        let new = edited(&parent, &edits);
        let mut aligner = Aligner::new(AlignOptions::default());
        for (a, b, from) in calls {
            let (a, b) = (a.index(parent.len() + 1), b.index(parent.len() + 1));
            let window = &parent[a.min(b)..a.max(b)];
            let window_at = base + a.min(b) as u64;
            let from = (base + beyond + from.index(parent.len() + 1) as u64).saturating_sub(1000);
            let mut steps = Vec::new();
            let stands = aligner.align(&new, new_at, window, window_at, from, &mut steps);
            prop_assert!(rebuild(&steps, &new, new_at, window, window_at) == new);
            let last_copy = steps.iter().rev().find_map(|step| match *step {
                Step::Copy { from, len } => Some(from + u64::from(len)),
                Step::Literal { .. } => None,
            });
            prop_assert_eq!(stands, last_copy.unwrap_or(from));
        }
    }

    #[test]
    fn steps_cut_at_chunk_ends_make_the_chunks_of_a_stream_that_comes_in_runs(
        parent in stream(),
        edits in edits(),
        run_len in 100..5000usize,
        window_len in 0..8000usize,
        chunk_len in 1..700usize,
        options in (0..300usize, 0..300usize),
    ) {
        let new = edited(&parent, &edits);
        let (strong_bytes_min, short_bytes_min) = options;
        let mut aligner = Aligner::new(AlignOptions { strong_bytes_min, short_bytes_min });
        let mut from = 0;
        for (number, run) in new.chunks(run_len).enumerate() {
            let new_at = (number * run_len) as u64;
            let start = usize::try_from(from).unwrap().saturating_sub(window_len / 2);
            let start = start.min(parent.len());
            let window = &parent[start..parent.len().min(start + window_len)];
            let mut steps = Vec::new();
            from = aligner.align(run, new_at, window, start as u64, from, &mut steps);
            let lengths = run.chunks(chunk_len).map(|chunk| u32::try_from(chunk.len()).unwrap());
            let cut: Vec<_> = cut_steps(&steps, lengths).collect();
            prop_assert_eq!(cut.len(), run.chunks(chunk_len).len());
            let mut at = new_at;
            for (chunk, steps) in run.chunks(chunk_len).zip(cut) {
                prop_assert!(rebuild(&steps, chunk, at, window, start as u64) == chunk);
                at += chunk.len() as u64;
            }
        }
    }
}
