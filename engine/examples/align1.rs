//! Aligns one file against another and says how much is literal. Usage: align1 OLD NEW BATCH
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring example"
)]
use keepstone_engine::delta::*;
fn main() {
    let args: Vec<_> = std::env::args().collect();
    let old = std::fs::read(&args[1]).unwrap();
    let new = std::fs::read(&args[2]).unwrap();
    let batch: usize = args[3].parse().unwrap();
    let mut aligner = Aligner::new(AlignOptions::default());
    let (mut walk, mut lit, mut ops) = (0, 0_u64, 0);
    let t = std::time::Instant::now();
    for (n, piece) in new.chunks(batch).enumerate() {
        let mut steps = vec![];
        walk = aligner.align(piece, (n * batch) as u64, &old, 0, walk, &mut steps);
        lit += steps
            .iter()
            .filter(|s| matches!(s, Step::Literal { .. }))
            .map(|s| u64::from(s.len_bytes()))
            .sum::<u64>();
        ops += steps.len();
    }
    println!("{} literal {lit} ops {ops} {:?}", args[2], t.elapsed());
}
