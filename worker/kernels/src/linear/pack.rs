//! A linear layer's weights in the order in which the product reads them.
//!
//! Output channels are cut into panels of two vectors, a panel's input features into the groups
//! that one dot instruction consumes: `[channel / panel][feature / group][channel % panel][feature
//! % group]`, padded with zero weights to whole panels and to groups in fours.

use crate::aligned::Aligned;
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// Groups are padded to a multiple of this, so that the product can be unrolled without a
/// remainder.
pub(crate) const GROUP_UNROLL: usize = 4;

/// With more input features a sum of products up to 255 * 128 could leave i32.
const MAX_FEATURES: usize = 65_536;

/// An int8 linear layer, y = x W^T + b: per-channel symmetric weights, packed for one isa.
pub struct Linear {
    pub(super) isa: Isa,
    pub(super) k: usize,
    pub(super) n: usize,
    /// Groups of input features in a panel, a multiple of [`GROUP_UNROLL`].
    pub(super) groups: usize,
    pub(super) panels: Aligned<i8>,
    pub(super) scale: Aligned<f32>,
    /// The sum of each channel's weights, scaled: what a row's origin adds to its result.
    pub(super) sum: Aligned<f32>,
    pub(super) bias: Aligned<f32>,
}

impl Linear {
    /// Packs `weights`, `scale.len()` output channels of `k` values each; channel c is worth
    /// `scale[c]` a step. The weights are read once and not kept.
    ///
    /// # Errors
    /// The lengths do not agree, there is no channel, or `k` is not in 1..=65536.
    pub fn pack(
        isa: Isa,
        weights: &[i8],
        scale: &[f32],
        bias: Option<&[f32]>,
        k: usize,
    ) -> Result<Self, ShapeError> {
        at_least("input features", 1, k)?;
        at_most("input features", MAX_FEATURES, k)?;
        at_least("output channels", 1, scale.len())?;
        exactly("weights", scale.len().saturating_mul(k), weights.len())?;
        if let Some(bias) = bias {
            exactly("bias", scale.len(), bias.len())?;
        }
        Ok(isa.run(Pack {
            isa,
            weights,
            scale,
            bias: bias.unwrap_or(&[]),
            k,
        }))
    }

    /// Input features a row.
    pub fn inputs(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.n
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory held by the packed layer.
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + self.scale.bytes() + self.sum.bytes() + self.bias.bytes()
    }
}

struct Pack<'a> {
    isa: Isa,
    weights: &'a [i8],
    scale: &'a [f32],
    bias: &'a [f32],
    k: usize,
}

impl Kernel for Pack<'_> {
    type Output = Linear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Linear {
        let (k, n) = (self.k, self.scale.len());
        let panel = 2 * S::LANES;
        let columns = n.next_multiple_of(panel);
        let groups = k.div_ceil(S::K_GROUP).next_multiple_of(GROUP_UNROLL);
        let mut panels = Aligned::zeroed(columns * groups * S::K_GROUP);
        let mut sum = Aligned::zeroed(columns);
        for (c, channel) in self.weights.chunks_exact(k).enumerate() {
            let first = (c / panel * groups * panel + c % panel) * S::K_GROUP;
            for (g, group) in channel.chunks(S::K_GROUP).enumerate() {
                let at = first + g * panel * S::K_GROUP;
                panels[at..at + group.len()].copy_from_slice(group);
            }
            let total: i32 = channel.iter().map(|&w| i32::from(w)).sum();
            sum[c] = total as f32 * self.scale[c];
        }
        Linear {
            isa: self.isa,
            k,
            n,
            groups,
            panels,
            scale: Aligned::padded(self.scale, columns),
            sum,
            bias: Aligned::padded(self.bias, columns),
        }
    }
}
