//! No kernel touches a byte before or after the caller's buffers: each buffer ends where a page
//! begins that may not be touched, or begins where one ends, so that one lane too many is a fault
//! on every isa.
#![cfg(unix)]

mod reference;

use std::ops::{Deref, DerefMut};

use reference::Noise;
use tidegate_kernels::{
    Activation, Attention, AttentionScratch, Epilogue, FloatLinear, Isa, LayerNorm, Linear, Mask,
    Pooling, QuantRows, Queries, ShapeError, Store, Table, activate, normalize, pool, softmax,
};

const PAGE: usize = 4096;

/// Where the buffer touches a forbidden page.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Before,
    After,
}

const EDGES: [Edge; 2] = [Edge::Before, Edge::After];

/// A buffer of f32 in pages of its own between two that may not be touched.
struct Guarded {
    map: *mut libc::c_void,
    bytes: usize,
    values: *mut f32,
    len: usize,
}

impl Guarded {
    fn new(values: &[f32], edge: Edge) -> Self {
        let size = size_of_val(values);
        let inner = size.next_multiple_of(PAGE).max(PAGE);
        let bytes = inner + 2 * PAGE;
        let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of pages that nobody else knows.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
        assert!(map != libc::MAP_FAILED, "mmap");
        let begin = match edge {
            Edge::Before => PAGE,
            Edge::After => PAGE + inner - size,
        };
        // SAFETY: the inner pages belong to the mapping, and the buffer to them.
        let to = unsafe {
            let opened = libc::mprotect(
                map.byte_add(PAGE),
                inner,
                libc::PROT_READ | libc::PROT_WRITE,
            );
            assert_eq!(opened, 0, "mprotect");
            map.byte_add(begin).cast::<f32>()
        };
        let mut guarded = Self {
            map,
            bytes,
            values: to,
            len: values.len(),
        };
        guarded.copy_from_slice(values);
        guarded
    }
}

impl Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: len values lie in readable pages, aligned because pages and f32 are.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` and no slice outlives this.
        unsafe { libc::munmap(self.map, self.bytes) };
    }
}

/// Runs `check` for every isa and edge, over widths around every vector and panel.
fn everywhere(
    check: fn(Isa, Edge, usize, &mut Noise) -> Result<(), ShapeError>,
) -> Result<(), ShapeError> {
    let mut noise = Noise::new(11);
    for isa in Isa::available() {
        for edge in EDGES {
            for cols in (1..70).chain([127, 128, 129, 384]) {
                check(isa, edge, cols, &mut noise)?;
            }
        }
    }
    Ok(())
}

#[test]
fn rows_stay_inside_their_buffers() -> Result<(), ShapeError> {
    everywhere(|isa, edge, cols, noise| {
        let mut rows = Guarded::new(&noise.normals(3 * cols, 1.0), edge);
        let mut quant = QuantRows::new(isa, 3, cols);
        quant.quantize(0, &rows)?;
        let norm = LayerNorm::new(vec![1.0; cols], vec![0.0; cols], 1e-5)?;
        norm.apply(isa, &mut rows)?;
        norm.apply_quantize(&mut rows, &mut quant)?;
        let mut normed = Guarded::new(&rows, edge);
        norm.apply_from(isa, &rows, &mut normed)?;
        norm.apply_quantize_from(&rows, &mut normed, &mut quant)?;
        softmax(isa, &mut rows, cols)?;
        let mut out = Guarded::new(&vec![0.0; cols], edge);
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Max] {
            pool(isa, pooling, &rows, &mut out)?;
        }
        normalize(isa, &mut out);
        let mut same = Guarded::new(&rows, edge);
        activate(isa, Activation::Gelu, &rows, &mut same)?;
        for table in [
            Table::quantize(&rows, cols)?,
            Table::float(rows.to_vec(), cols)?,
        ] {
            for store in [Store::Add, Store::Multiply] {
                table.gather(isa, [2, 0, 1].into_iter(), store, &mut same)?;
            }
        }
        Ok(())
    })
}

#[test]
fn linear_layers_stay_inside_their_buffers() -> Result<(), ShapeError> {
    everywhere(|isa, edge, cols, noise| {
        let (k, m) = (1 + noise.below(90), 1 + noise.below(12));
        let weights: Vec<i8> = (0..cols * k).map(|_| noise.bits() as i8).collect();
        let linear = Linear::pack(isa, &weights, &vec![0.01; cols], None, k)?;
        let mut x = QuantRows::new(isa, m, k);
        x.quantize(0, &Guarded::new(&noise.normals(m * k, 1.0), edge))?;
        let weights = Guarded::new(&noise.normals(cols * k, 1.0), edge);
        let float = FloatLinear::pack(isa, &weights, None, k)?;
        let rows = Guarded::new(&noise.normals(m * k, 1.0), edge);
        let mut out = Guarded::new(&vec![0.0; m * cols], edge);
        for store in [Store::Replace, Store::Add, Store::Multiply] {
            let epilogue = Epilogue {
                activation: Activation::Gelu,
                store,
            };
            linear.forward(&x, 0..m, epilogue, &mut out)?;
            float.forward(&rows, epilogue, &mut out)?;
        }
        Ok(())
    })
}

#[test]
fn attention_stays_inside_its_buffers() -> Result<(), ShapeError> {
    everywhere(|isa, edge, len, noise| {
        let head_dim = 1 + noise.below(40);
        let shape = Attention {
            heads: 2,
            head_dim,
            scale: 0.3,
        };
        let qkv = Guarded::new(&noise.normals(len * 3 * shape.width(), 1.0), edge);
        let mut out = Guarded::new(&vec![0.0; len * shape.width()], edge);
        let from = Queries {
            qkv: &qkv,
            sequence: 0..len,
            queries: 0..len,
        };
        let mut scratch = AttentionScratch::new(len, head_dim);
        for mask in [Mask::None, Mask::Window(noise.below(len + 1))] {
            shape.run(isa, from.clone(), mask, &mut scratch, &mut out)?;
        }
        Ok(())
    })
}
