//! Where fetched models are kept: `CACHE/SHA256/NAME`, and beside it what is not whole yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;

use super::{Address, S3Error};
use crate::models::hex;

const BUFFER_BYTES: usize = 1 << 20;

/// One model's place.
pub struct Cache {
    directory: PathBuf,
    file: PathBuf,
    part: PathBuf,
}

/// Held while the model is fetched; ends with the process at the latest.
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Below `cache`, or where this user's caches are.
    pub async fn open(cache: Option<&Path>, address: &Address) -> Result<Cache, S3Error> {
        let cache = match cache {
            Some(cache) => cache.to_owned(),
            None => of_user().ok_or(S3Error::NoCache)?,
        };
        let directory = cache.join(&address.sha256);
        let made = tokio::fs::create_dir_all(&directory).await;
        made.map_err(|error| failed(&directory, error))?;
        Ok(Cache {
            file: directory.join(address.file_name()),
            part: directory.join("part"),
            directory,
        })
    }

    /// What is not whole yet.
    pub fn part(&self) -> &Path {
        &self.part
    }

    pub async fn part_bytes(&self) -> u64 {
        let metadata = tokio::fs::metadata(&self.part).await;
        metadata.map_or(0, |metadata| metadata.len())
    }

    /// The file, if it is there and what it must be. A file that is not is removed.
    pub async fn verified(&self, address: &Address) -> Result<Option<PathBuf>, S3Error> {
        if !self.file.exists() {
            return Ok(None);
        }
        let found = hash_of(self.file.clone()).await?;
        if found == address.sha256 {
            return Ok(Some(self.file.clone()));
        }
        warn!(file = %self.file.display(), found, "a file in the cache has changed; downloading it again");
        self.remove(&self.file).await?;
        Ok(None)
    }

    /// Waits until no other process fetches this model.
    pub async fn lock(&self) -> Result<Lock, S3Error> {
        let path = self.directory.join("lock");
        let opened = path.clone();
        let locked = on_a_blocking_thread(move || {
            let file = File::create(opened)?;
            file.lock()?;
            Ok(file)
        });
        let locked = locked.await.map_err(|error| failed(&path, error))?;
        Ok(Lock { _file: locked })
    }

    /// Gives the fetched file its name, if it is what it must be; otherwise removes it.
    pub async fn accept(&self, address: &Address) -> Result<PathBuf, S3Error> {
        let found = hash_of(self.part.clone()).await?;
        if found != address.sha256 {
            self.remove(&self.part).await?;
            return Err(S3Error::OtherContent {
                address: address.clone(),
                found,
                expected: address.sha256.clone(),
            });
        }
        let named = tokio::fs::rename(&self.part, &self.file).await;
        named.map_err(|error| failed(&self.file, error))?;
        Ok(self.file.clone())
    }

    async fn remove(&self, path: &Path) -> Result<(), S3Error> {
        let removed = tokio::fs::remove_file(path).await;
        removed.map_err(|error| failed(path, error))
    }
}

fn failed(path: &Path, error: io::Error) -> S3Error {
    S3Error::Cache {
        path: path.to_owned(),
        error,
    }
}

/// `$XDG_CACHE_HOME/tidegate/models`, or the same below `~/.cache`.
fn of_user() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let caches = set
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(caches.join("tidegate/models"))
}

async fn hash_of(path: PathBuf) -> Result<String, S3Error> {
    let opened = path.clone();
    let hashed = on_a_blocking_thread(move || {
        let mut reader = io::BufReader::with_capacity(BUFFER_BYTES, File::open(opened)?);
        let mut hash = Sha256::new();
        io::copy(&mut reader, &mut hash)?;
        Ok(hex(hash))
    });
    hashed.await.map_err(|error| failed(&path, error))
}

async fn on_a_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}
