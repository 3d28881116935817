//! How many threads compute.
//!
//! Each computing thread takes whole batches: nothing is split while there is enough to do, so
//! nothing waits for the slowest part, and a machine of N cores computes N batches at once.

use rayon::ThreadPoolBuilder;
use tracing::warn;

/// The number of computing threads: as asked, or as many as this process may use, which heeds
/// a container's share and the CPU mask.
pub fn count(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    }
}

/// Keeps what candle would spread over a pool on the calling thread, for as long as it lives.
/// To be called once a thread.
pub fn stay_on_this_one() {
    let own_pool = ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build();
    if let Err(problem) = own_pool {
        warn!(%problem, "a head computes on the threads of all");
    }
}
