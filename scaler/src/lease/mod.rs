//! One writer: of several scalers of a fleet, the one that holds the lease acts, the others watch.
//!
//! The lease is a lock on a file for scalers of one machine, or an item in a table with conditional
//! writes. The [`Memory`], which the next holder needs, is stored beside the lease, and only the holder
//! can write it.
//!
//! The right to act does not depend on equal clocks of two machines: see [`Shared`].

mod file;
mod memory;
mod shared;
mod table;

use std::time::Duration;

pub use file::FileLease;
pub use memory::{Act, Memory, SETTLED_AFTER, VERSION};
pub use shared::{Item, Shared, Store, Terms, Written};
pub use table::{CallOutcome, Table};

/// Why the lease's place could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("{what}: {cause}")]
    File { what: String, cause: std::io::Error },
    #[error("{call}: {why}")]
    Call { call: &'static str, why: String },
    #[error("the item is not a lease of Tidegate: {why}")]
    NotOurs { why: String },
    #[error("it is of version {found}, expected at most {}", VERSION + 1)]
    Version { found: u32 },
    #[error("the state to keep has {bytes} bytes, expected at most {most}")]
    TooLarge { bytes: usize, most: usize },
    #[error("another scaler holds it now")]
    Lost,
}

/// What came of a look after the lease.
#[derive(Debug)]
pub enum LeaseChange {
    /// This scaler acts, or watches, as before.
    Same,
    /// It acts from now on, and goes on from what the one before has left, if that can be read.
    Taken(Result<Option<Memory>, LeaseError>),
    /// It acts no more.
    Lost,
    /// As before, though the lease's place could not be reached.
    Unreached(LeaseError),
    /// As before: it could not be reached last time, and is tried again later.
    StillUnreached,
}

/// Who acts.
pub enum Lease {
    /// There is no other scaler.
    Alone,
    File(FileLease),
    Shared(Shared),
}

impl Lease {
    /// Renews the lease, or tries to take it, when that is due. Called at every tick.
    pub async fn renew(&mut self, memory: &Memory) -> LeaseChange {
        match self {
            Lease::Alone => LeaseChange::Same,
            Lease::File(lease) => lease.renew(memory),
            Lease::Shared(lease) => lease.renew(memory).await,
        }
    }

    /// Whether this scaler may act, and still may when what it does now has taken `span`.
    pub fn outlasts(&self, span: Duration) -> bool {
        match self {
            Lease::Alone => true,
            Lease::File(lease) => lease.is_held(),
            Lease::Shared(lease) => lease.outlasts(span),
        }
    }

    /// Writes down at once what is about to be done. What cannot be written is not to be done.
    ///
    /// # Errors
    /// When it cannot be written, or the lease is another's.
    pub async fn keep(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        match self {
            Lease::Alone => Ok(()),
            Lease::File(lease) => lease.keep(memory),
            Lease::Shared(lease) => lease.keep(memory).await,
        }
    }

    /// What is to be kept has changed: it is written with the next renewal.
    pub fn hurry(&mut self) {
        if let Lease::Shared(lease) = self {
            lease.hurry();
        }
    }

    /// Lets the next one act at once. Does nothing where the lease is not held.
    ///
    /// # Errors
    /// When that cannot be said; the lease then runs out by itself.
    pub async fn give_up(&mut self, memory: &Memory) -> Result<(), LeaseError> {
        match self {
            Lease::Alone => Ok(()),
            Lease::File(lease) => lease.give_up(memory),
            Lease::Shared(lease) => lease.give_up(memory).await,
        }
    }

    /// Who acts while this scaler watches, as far as it is known.
    pub fn holder(&self) -> Option<&str> {
        match self {
            Lease::Alone | Lease::File(_) => None,
            Lease::Shared(lease) => lease.holder(),
        }
    }
}
