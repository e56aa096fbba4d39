//! The promises of the whole folder, on random streams.

use proptest::prelude::*;

use super::*;

/// Carries the steps out.
fn rebuild(steps: &[Step], new: &[u8], new_at: u64, parent: &[u8], parent_at: u64) -> Vec<u8> {
    let piece = |bytes: &[u8], base: u64, at: u64, len: u32| {
        let start = usize::try_from(at.checked_sub(base).expect("before the slice")).unwrap();
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

/// A stream that is made of pieces of the other, with changes.
fn edited(parent: &[u8], edits: &[(prop::sample::Index, u16, u8, u16)]) -> Vec<u8> {
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

fn stream(alphabet: u8, len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..=alphabet, 0..len)
}

proptest! {
    #[test]
    fn steps_make_exactly_the_run_from_any_window_and_any_place(
        parent in prop_oneof![stream(255, 20_000), stream(1, 20_000), stream(0, 3000)],
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3000u16, any::<u8>(), 0..300u16), 0..20),
        calls in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
        from_beyond in 0..2000u64,
        new_at in 0..1_000_000u64,
        base in 0..1_000_000u64,
    ) {
        let new = edited(&parent, &edits);
        let mut aligner = Aligner::new(AlignOptions::default());
        for (a, b, from) in calls {
            let (a, b) = (a.index(parent.len() + 1), b.index(parent.len() + 1));
            let window = &parent[a.min(b)..a.max(b)];
            let window_at = base + a.min(b) as u64;
            let from = base + from.index(parent.len() + 1) as u64 + from_beyond;
            let mut steps = Vec::new();
            aligner.align(&new, new_at, window, window_at, from, &mut steps);
            prop_assert!(rebuild(&steps, &new, new_at, window, window_at) == new);
        }
    }
}

#[test]
fn a_stream_that_did_not_change_is_one_copy() {
    let parent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let mut steps = Vec::new();
    let stands = Aligner::new(AlignOptions::default()).align(&parent, 0, &parent, 0, 0, &mut steps);
    assert_eq!(
        steps,
        [Step::Copy {
            from: 0,
            len: 400_000
        }]
    );
    assert_eq!(stands, 400_000);
}
