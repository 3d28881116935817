//! Random numbers of one sequence: the same seed gives the same numbers, whatever else is computed.

/// SplitMix64 (Steele, Lea and Flood 2014): a counter behind a good mixer.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The seed of one of several answers to a request.
pub fn choice_seed(seed: u64, choice: u64) -> u64 {
    match choice {
        0 => seed,
        _ => Random(seed ^ choice.wrapping_mul(0xD1B5_4A32_D192_ED03)).next(),
    }
}
