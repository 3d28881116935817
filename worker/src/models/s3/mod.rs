//! A model file from S3: fetched into a cache, verified by the hash that the user named, and
//! found there again by the next start.
//!
//! Nothing is used that was not verified: a file gets its name in the cache after its hash was
//! held against the address. An interrupted download goes on where it stopped, in this process
//! or the next; of several processes that want the same file one fetches it.

mod address;
mod cache;
mod config;
mod request;

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tidegate_agent::causes;
use tokio::io::AsyncWriteExt;
use tracing::{info, warn};

pub use address::{Address, AddressError};
use cache::Cache;
pub use config::S3Config;
use request::{Bucket, Part};

use crate::units::Bytes;

/// Tries at the file before giving up, each from where the last one stopped.
const TRIES: u32 = 5;

/// Before the second try; doubled for each that follows.
const FIRST_WAIT: Duration = Duration::from_millis(400);

#[derive(Debug, Error)]
pub enum S3Error {
    #[error("no region is known for {address}; set s3.region or AWS_REGION")]
    NoRegion { address: Address },
    #[error("no AWS credentials are found for {address}: {why}")]
    NoCredentials { address: Address, why: String },
    #[error("the request for {address} cannot be signed: {why}")]
    Unsigned { address: Address, why: String },
    #[error(
        "{address} may not be read ({code}: {message}); the role needs s3:GetObject, and \
         kms:Decrypt where the bucket is encrypted with a key of its own"
    )]
    Forbidden {
        address: Address,
        code: String,
        message: String,
    },
    #[error("there is no {address} ({code})")]
    Absent { address: Address, code: String },
    #[error("the bucket of {address} is in {found}, expected {expected}; set s3.region")]
    OtherRegion {
        address: Address,
        found: String,
        expected: String,
    },
    #[error("{address} is answered with {status} ({code}: {message})")]
    Status {
        address: Address,
        status: u16,
        code: String,
        message: String,
    },
    #[error("the download of {address} broke off: {}", causes(.error))]
    Broken {
        address: Address,
        error: reqwest::Error,
    },
    #[error("{address} has {found} bytes, expected at most {most} (s3.max_size)")]
    TooLarge {
        address: Address,
        found: u64,
        most: Bytes,
    },
    #[error("{address} has the SHA-256 {found}, expected {expected}")]
    OtherContent {
        address: Address,
        found: String,
        expected: String,
    },
    #[error("there is no home directory to keep models in; set s3.cache")]
    NoCache,
    #[error("{} in the cache of models: {error}", path.display())]
    Cache {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the client of S3 cannot be set up: {0}")]
    Client(reqwest::Error),
}

impl S3Error {
    /// Whether another try may succeed.
    fn may_pass(&self) -> bool {
        match self {
            S3Error::Broken { .. } => true,
            S3Error::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// The verified file.
pub async fn fetch(address: &Address, config: &S3Config) -> Result<PathBuf, S3Error> {
    let cache = Cache::open(config.cache.as_deref(), address).await?;
    if let Some(file) = cache.verified(address).await? {
        info!(file = %file.display(), "using the model in the cache");
        return Ok(file);
    }
    // Held until the file is there, so that it is fetched once.
    let _lock = cache.lock().await?;
    if let Some(file) = cache.verified(address).await? {
        return Ok(file);
    }
    let bucket = Bucket::connect(address, config).await?;
    let resumed = cache.part_bytes().await;
    download(&bucket, &cache, config).await?;
    match cache.accept(address).await {
        // What an earlier process left may be of another file of that name.
        Err(S3Error::OtherContent { .. }) if resumed > 0 => {
            warn!("the rest of an earlier download does not match; starting again");
            download(&bucket, &cache, config).await?;
            cache.accept(address).await
        }
        accepted => accepted,
    }
}

async fn download(bucket: &Bucket, cache: &Cache, config: &S3Config) -> Result<(), S3Error> {
    for tries in 1.. {
        let error = match go_on(bucket, cache.part(), config.max_size).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if tries == TRIES || !error.may_pass() {
            return Err(error);
        }
        warn!(tries, %error, "the download was interrupted; resuming");
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(tries - 1)).await;
    }
    Ok(())
}

/// Gets what is not in the file yet.
async fn go_on(bucket: &Bucket, file: &Path, most: Bytes) -> Result<(), S3Error> {
    let failed = |error| S3Error::Cache {
        path: file.to_owned(),
        error,
    };
    let mut options = tokio::fs::OpenOptions::new();
    let opened = options.create(true).append(true).open(file).await;
    let mut out = opened.map_err(failed)?;
    let there = out.metadata().await.map_err(failed)?.len();
    let Some(mut part) = bucket.get(there).await? else {
        return Ok(());
    };
    let mut bytes = there;
    if part.from == 0 && there > 0 {
        out.set_len(0).await.map_err(failed)?;
        bytes = 0;
    }
    let mut progress = Progress::new(&part, bytes);
    while let Some(chunk) = part.chunk().await? {
        let chunk = chunk.as_ref();
        bytes += chunk.len() as u64;
        if bytes > most.0 {
            return Err(part.too_large(bytes, most));
        }
        out.write_all(chunk).await.map_err(failed)?;
        progress.at(bytes);
    }
    out.flush().await.map_err(failed)
}

/// Says every tenth of a large file.
struct Progress {
    whole: u64,
    tenths: u64,
}

/// A file that is smaller is there at once.
const WORTH_TELLING: u64 = 64 << 20;

impl Progress {
    fn new(part: &Part, from: u64) -> Progress {
        let whole = part.whole.unwrap_or(0);
        info!(megabytes = whole >> 20, from = from >> 20, "downloading");
        let tenths = from * 10 / whole.max(1);
        Progress { whole, tenths }
    }

    fn at(&mut self, bytes: u64) {
        let tenths = bytes * 10 / self.whole.max(1);
        if self.whole >= WORTH_TELLING && tenths > self.tenths {
            self.tenths = tenths;
            info!(percent = tenths * 10, "downloading");
        }
    }
}
