//! What the int8 instruction of an ISA can do at best: the denominator of every share of peak.

use std::hint::black_box;

use crate::aligned::Aligned;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// Independent sums, enough to hide the latency of a dot.
const CHAINS: usize = 12;

/// Dots of a chain in a round.
const DOTS: u32 = 16;

/// Runs dots whose activations are in the first cache, as in a product, and returns how many
/// multiply-adds that were.
pub fn peak(isa: Isa, rounds: u32) -> u64 {
    isa.run(Peak { rounds })
}

struct Peak {
    rounds: u32,
}

impl Kernel for Peak {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        let bytes = Aligned::padded(&[1i8; 128], 128);
        // SAFETY: 128 bytes hold the weights of one vector of any isa.
        let w = unsafe { s.load_w(black_box(bytes.as_ptr())) };
        let mut acc = [s.zero_i32(); CHAINS];
        for _ in 0..self.rounds * DOTS {
            // Somewhere else each time, as far as the compiler can tell: products of the same
            // operands would be made once.
            let acts = black_box(bytes.as_ptr());
            for (i, acc) in acc.iter_mut().enumerate() {
                // SAFETY: 128 bytes hold the activations of CHAINS groups of any isa.
                let a = unsafe { s.load_a(acts.cast::<S::Act>().add(i * S::K_GROUP)) };
                *acc = s.dot(*acc, a, w);
            }
        }
        let mut total = 0.0;
        for acc in acc {
            total += s.sum(s.to_f32(acc));
        }
        black_box(total);
        u64::from(self.rounds * DOTS) * (CHAINS * S::LANES * S::K_GROUP) as u64
    }
}
