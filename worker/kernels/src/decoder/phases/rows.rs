//! What is done to one row at a time: norms, quantizing, capping.

use std::ops::Range;

use super::Pass;
use crate::paged::softcap;
use crate::rms_norm::RmsNorm;
use crate::simd::{Kernel, Simd};

/// Rows to normalize.
pub(super) enum Rows {
    /// To their own places.
    Own(Range<usize>),
    /// Wanted rows by their order, to the places of that order.
    Wanted(Range<usize>),
}

pub(super) struct NormRows<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) norm: &'a RmsNorm,
    pub(super) post: Option<&'a RmsNorm>,
    pub(super) from: Rows,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pass = self.pass;
        let width = pass.decoder.parts.shape.width;
        let (range, wanted) = match self.from {
            Rows::Own(rows) => (rows, false),
            Rows::Wanted(rows) => (rows, true),
        };
        for to in range {
            let row = if wanted { pass.plan.wanted[to] } else { to };
            // SAFETY: this member alone writes these rows; hidden rows of others are read after a
            // barrier.
            unsafe {
                if let Some(post) = self.post {
                    add_normed(s, pass, post, row);
                }
                let normed = pass.normed.pointer(to * width);
                self.norm.row(s, pass.hidden.pointer(row * width), normed);
                let quant = pass.normed_quant;
                if quant.blocks != 0 {
                    quant.put(s, to, 0, quant.blocks, normed);
                }
            }
        }
    }
}

pub(super) struct AddNormed<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) post: &'a RmsNorm,
    pub(super) rows: Range<usize>,
}

impl Kernel for AddNormed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows {
            // SAFETY: the row is this member's own.
            unsafe { add_normed(s, self.pass, self.post, row) }
        }
    }
}

/// hidden += post(branch).
///
/// # Safety
/// Nobody else uses this row of either now.
#[inline(always)]
unsafe fn add_normed<S: Simd>(s: S, pass: &Pass<'_>, post: &RmsNorm, row: usize) {
    let width = post.cols();
    let (branch, hidden) = (
        pass.branch.pointer(row * width),
        pass.hidden.pointer(row * width),
    );
    // SAFETY: the caller's promise; both have a row there.
    unsafe {
        post.row(s, branch, branch);
        for at in (0..width).step_by(S::LANES) {
            let n = S::LANES.min(width - at);
            let x = s.load_n(hidden.add(at), n, 0.0);
            let y = s.add(x, s.load_n(branch.add(at), n, 0.0));
            s.store_n(hidden.add(at), n, y);
        }
    }
}

pub(super) struct Softcap<'a> {
    pub(super) row: &'a mut [f32],
    pub(super) cap: f32,
}

impl Kernel for Softcap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        softcap(s, self.row, self.cap);
    }
}
