//! Memory that requests share: bodies as they come in, results until they are written. What does
//! not fit now is refused as a full worker refuses; what can never fit is refused for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counted in these, so that shares are of any size.
const UNIT: usize = 1 << 10;

/// Bytes of one kind, of all requests together.
#[derive(Debug)]
pub struct Pool {
    units: AtomicUsize,
    free: Arc<Semaphore>,
}

/// A request's part. Dropping it gives it back.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

/// There is not as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Others have it.
    Now,
    /// Even if nobody had any.
    Ever,
}

impl Pool {
    pub fn new(bytes: usize) -> Pool {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Pool {
            units: AtomicUsize::new(units),
            free: Arc::new(Semaphore::new(units)),
        }
    }

    /// Leaves no more than `bytes` to share; before any of it is taken.
    pub fn shrink(&self, bytes: usize) {
        let units = (bytes / UNIT).max(1);
        let before = self.units.load(Ordering::Relaxed);
        if units < before {
            self.free.forget_permits(before - units);
            self.units.store(units, Ordering::Relaxed);
        }
    }

    /// The most that one request can have.
    pub fn bytes(&self) -> usize {
        self.units.load(Ordering::Relaxed) * UNIT
    }

    pub fn take(&self, bytes: usize) -> Result<Share, Short> {
        let units = bytes.div_ceil(UNIT);
        if units > self.units.load(Ordering::Relaxed) {
            return Err(Short::Ever);
        }
        let units = u32::try_from(units).map_err(|_| Short::Ever)?;
        let taken = self.free.clone().try_acquire_many_owned(units);
        taken.map(Share).map_err(|_| Short::Now)
    }
}

impl Share {
    /// Takes more of the pool, until `bytes` are held.
    pub fn grow(&mut self, pool: &Pool, bytes: usize) -> Result<(), Short> {
        let held = self.0.num_permits() * UNIT;
        if bytes > held {
            let Share(more) = pool.take(bytes - held)?;
            self.0.merge(more);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_end_grow_and_come_back() {
        let pool = Pool::new(10 << 10);
        let mut first = pool.take(4 << 10).expect("it is free");
        assert_eq!(pool.take(11 << 10).err(), Some(Short::Ever));
        assert_eq!(pool.take(7 << 10).err(), Some(Short::Now));
        assert_eq!(first.grow(&pool, 9 << 10), Ok(()));
        assert_eq!(pool.take(2 << 10).err(), Some(Short::Now));
        drop(first);
        pool.shrink(2 << 10);
        assert!(pool.take(2 << 10).is_ok());
        assert_eq!(pool.take(3 << 10).err(), Some(Short::Ever));
    }
}
