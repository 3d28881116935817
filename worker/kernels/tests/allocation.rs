//! Nothing is allocated between the first layer and the last. Alone in its process, so that every
//! allocation that is counted is the encoder's.

mod reference;

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use reference::{Block, Dense, Model, Noise, Norm, Order, Precision};
use tidegate_kernels::{Activation, Batch, Encoder, Isa, Output, Pooling, ShapeError, Workspace};

const WIDTH: usize = 64;
const VOCABULARY: usize = 50;

/// Counts what the system's allocator is asked for.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(old, layout) }
    }
}

/// With every part that a family may have: positions, kinds, a relative bias; or rotations, windows
/// and gates.
fn encoder(
    isa: Isa,
    precision: Precision,
    order: Order,
    layers: usize,
) -> Result<Encoder, ShapeError> {
    let mut noise = Noise::new(5);
    let modern = order == Order::Before;
    let blocks = (0..layers).map(|_| Block {
        qkv: Dense::random(&mut noise, WIDTH, 3 * WIDTH),
        rotation: modern.then_some(10_000.0),
        window: modern.then_some(9),
        out: Dense::random(&mut noise, WIDTH, WIDTH),
        attention_norm: Some(Norm::random(&mut noise, WIDTH)),
        up: Dense::random(&mut noise, WIDTH, 2 * WIDTH),
        gate: modern.then(|| Dense::random(&mut noise, WIDTH, 2 * WIDTH)),
        down: Dense::random(&mut noise, 2 * WIDTH, WIDTH),
        output_norm: Norm::random(&mut noise, WIDTH),
    });
    let blocks = blocks.collect();
    let model = Model {
        width: WIDTH,
        heads: 4,
        activation: Activation::Gelu,
        eps: 1e-5,
        words: noise.normals(VOCABULARY * WIDTH, 1.0),
        positions: Some(noise.normals(300 * WIDTH, 0.3)),
        first_position: 0,
        kinds: Some(noise.normals(2 * WIDTH, 0.3)),
        norm: Norm::random(&mut noise, WIDTH),
        order,
        blocks,
        final_norm: modern.then(|| Norm::random(&mut noise, WIDTH)),
        relative: (!modern).then(|| (noise.normals(4 * 511, 1.0), 256)),
    };
    model.packed(isa, precision)
}

/// Calls of the allocator while a batch of sequences of these lengths is encoded.
fn calls(
    encoder: &Encoder,
    lengths: &[usize],
    output: Output,
    threads: usize,
) -> Result<usize, Box<dyn Error>> {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    let tokens = offsets[lengths.len()];
    let ids: Vec<u32> = (0..tokens).map(|at| (at % VOCABULARY) as u32).collect();
    let kinds = vec![1; tokens];
    let batch = Batch::new(&ids, Some(&kinds), &offsets)?;
    let rows = match output {
        Output::Hidden => tokens,
        _ => lengths.len(),
    };
    let mut out = vec![0.0; rows * WIDTH];
    let mut workspaces: Vec<Workspace> =
        (0..threads).map(|_| Workspace::new(encoder, 256)).collect();
    // What an ISA's detection keeps is made on the first run.
    encoder.run(&batch, output, &mut workspaces, &mut out)?;
    let before = CALLS.load(Ordering::Relaxed);
    encoder.run(&batch, output, &mut workspaces, &mut out)?;
    Ok(CALLS.load(Ordering::Relaxed) - before)
}

/// One test, for another one's thread would be counted with it.
#[test]
fn encoding_allocates_nothing_but_the_threads_that_share_a_batch() -> Result<(), Box<dyn Error>> {
    let several = [40, 3, 200, 90, 1, 60];
    for isa in Isa::available() {
        let precisions = [Precision::Int8, Precision::Mixed, Precision::F32];
        let orders = [Order::After, Order::Before];
        for (precision, order) in precisions.into_iter().flat_map(|p| orders.map(|o| (p, o))) {
            let one = encoder(isa, precision, order, 1)?;
            let six = encoder(isa, precision, order, 6)?;
            for output in [
                Output::Hidden,
                Output::Pooled(Pooling::Max),
                Output::Embedding(Pooling::Mean),
            ] {
                for lengths in [&several[..], &[200]] {
                    let alone = calls(&six, lengths, output, 1)?;
                    assert_eq!(alone, 0, "{isa} {precision:?} {order:?}");
                    // Two threads: a layer more, or a text, is no allocation more.
                    let threads = |encoder| calls(encoder, lengths, output, 2);
                    assert_eq!(threads(&six)?, threads(&one)?, "{isa} {precision:?}");
                }
            }
        }
    }
    Ok(())
}
