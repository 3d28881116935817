//! A step allocates nothing. Alone in its process, so that every allocation that is counted is the
//! decoder's.

mod plain;
mod reference;

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};

use plain::{Family, Model};
use tidegate_kernels::{BlockType, Chunk, DecoderWorkspace, Isa, KvCache, KvType, Team, Wanted};

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

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(old, layout) }
    }
}

/// One test, for another one's thread would be counted with it.
#[test]
fn a_step_allocates_nothing() -> Result<(), Box<dyn Error>> {
    for family in [Family::Llama, Family::Gemma3] {
        let model = Model::random(family, BlockType::Q8_0, 1);
        for isa in Isa::available() {
            let decoder = model.pack(isa)?;
            let mut team = Team::new(2)?;
            let mut cache = KvCache::new(decoder.kv_shape(), 8, KvType::F16);
            let mut workspace = DecoderWorkspace::new(&decoder, 80, 96, 2);
            let prompt: Vec<u32> = (0..70).collect();
            let mut out = vec![0.0; 3 * decoder.shape().vocab];
            let mut calls = 0;
            for _ in 0..2 {
                // What an ISA's detection keeps is made in the first round.
                calls = CALLS.load(Ordering::Relaxed);
                for (tokens, start) in [(&prompt[..], 0), (&prompt[..3], 70)] {
                    let rows = if start == 0 { 1 } else { 3 };
                    let chunk = Chunk {
                        tokens,
                        start,
                        pages: &[5, 0, 3],
                        logits: if start == 0 {
                            Wanted::Last
                        } else {
                            Wanted::All
                        },
                    };
                    let out = &mut out[..rows * decoder.shape().vocab];
                    decoder.step(&mut team, &mut cache, &mut workspace, &[chunk], out)?;
                }
                calls = CALLS.load(Ordering::Relaxed) - calls;
            }
            assert_eq!(calls, 0, "{family:?} {isa}");
        }
    }
    Ok(())
}
