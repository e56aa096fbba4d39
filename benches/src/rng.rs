//! A small seeded generator, so that the data of a bench never change with a dependency.

/// SplitMix64: every seed gives a full sequence of its own.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A sequence of its own for every pair of seed and name.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut rng = Self { state: seed };
        for byte in name.bytes() {
            rng.state = rng.next_u64() ^ u64::from(byte);
        }
        rng
    }

    /// Sixty-four random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Uniform below a bound that is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is below 2^-40 for every bound used here.
        self.next_u64() % bound
    }

    /// A uniform place in a slice of this length.
    pub fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// Uniform in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Two normal numbers.
    pub fn normal_pair(&mut self) -> (f64, f64) {
        let radius = (-2.0 * self.unit().max(1e-300).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.unit()).sin_cos();
        (radius * cosine, radius * sine)
    }

    /// Appends `count` normal numbers as little-endian float32.
    pub fn vector(&mut self, count: usize, out: &mut Vec<u8>) {
        for _ in 0..count.div_ceil(2) {
            let (first, second) = self.normal_pair();
            out.extend_from_slice(&(first as f32).to_le_bytes());
            out.extend_from_slice(&(second as f32).to_le_bytes());
        }
    }

    /// Appends words `wNNNN` of a vocabulary of 5000, a space between them.
    pub fn words(&mut self, count: usize, out: &mut String) {
        for place in 0..count {
            if place > 0 {
                out.push(' ');
            }
            let mut word = self.below(5000);
            out.push('w');
            for unit in [1000, 100, 10, 1] {
                out.push(char::from(
                    b'0' + u8::try_from(word / unit).expect("a digit"),
                ));
                word %= unit;
            }
        }
    }

    /// The same as a new text.
    pub fn text(&mut self, count: usize) -> String {
        let mut out = String::with_capacity(count * 6);
        self.words(count, &mut out);
        out
    }
}
