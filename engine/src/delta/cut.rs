//! Cutting the steps of a run at the ends of its chunks.

use super::Step;

/// Slices the steps of a run into one list for each of its chunks, in order.
///
/// The lengths must add up to no more than the steps make; a chunk beyond their end gets what is left.
pub fn cut_steps(
    steps: &[Step],
    chunk_lengths: impl IntoIterator<Item = u32>,
) -> impl Iterator<Item = Vec<Step>> {
    let mut rest = steps.iter().copied();
    let mut pending: Option<Step> = None;
    chunk_lengths.into_iter().map(move |chunk_len| {
        let mut chunk = Vec::new();
        let mut missing = chunk_len;
        while missing > 0 {
            let Some(step) = pending.take().or_else(|| rest.next()) else {
                break;
            };
            let len = step.len_bytes();
            let taken = len.min(missing);
            chunk.push(step.part(0, taken));
            missing -= taken;
            if taken < len {
                pending = Some(step.part(taken, len - taken));
            }
        }
        chunk
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_cut_at_the_ends_of_chunks() {
        let steps = [
            Step::Copy {
                from: 1000,
                len: 50,
            },
            Step::Literal { at: 50, len: 10 },
            Step::Copy {
                from: 1070,
                len: 100,
            },
        ];
        let chunks: Vec<_> = cut_steps(&steps, [55, 5, 0, 60, 40]).collect();
        assert_eq!(
            chunks,
            [
                vec![
                    Step::Copy {
                        from: 1000,
                        len: 50
                    },
                    Step::Literal { at: 50, len: 5 }
                ],
                vec![Step::Literal { at: 55, len: 5 }],
                vec![],
                vec![Step::Copy {
                    from: 1070,
                    len: 60
                }],
                vec![Step::Copy {
                    from: 1130,
                    len: 40
                }],
            ]
        );
    }

    #[test]
    fn a_chunk_beyond_the_steps_gets_what_is_left() {
        let steps = [Step::Literal { at: 7, len: 3 }];
        let chunks: Vec<_> = cut_steps(&steps, [2, 5, 5]).collect();
        assert_eq!(
            chunks,
            [
                vec![Step::Literal { at: 7, len: 2 }],
                vec![Step::Literal { at: 9, len: 1 }],
                vec![]
            ]
        );
    }
}
