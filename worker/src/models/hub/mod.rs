//! Fetching a model from a hub into the cache that Python's huggingface_hub shares, and finding
//! it there again without a network.
//!
//! `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they mean there.
//! An interrupted download is resumed where it stopped, in this process or the next.

mod plain;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hf_hub::api::tokio::{Api, ApiBuilder, ApiError, ApiRepo, Progress};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use thiserror::Error;
use tracing::{info, warn};

use self::plain::PlainError;
use super::layout::WEIGHTS_FILE;
use super::weights::INDEX_FILE;

/// What a worker reads of a repository beside its weights, when it is there.
const FILES: [&str; 15] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
    "generation_config.json",
    "chat_template.jinja",
];

/// The weights, or what names the files that they are in.
const WEIGHTS: [&str; 2] = [WEIGHTS_FILE, INDEX_FILE];

/// What is lost of an interrupted download, at most.
const CHUNK_BYTES: usize = 4 << 20;

/// Tries at one file before giving up.
const TRIES: u32 = 5;

/// How long the hub may take to describe a repository before the cache is used instead.
const HUB_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Error)]
pub enum HubError {
    #[error("{repository}@{revision} cannot be asked for ({error}), and the cache in {} does not hold it", cache.display())]
    Unreachable {
        repository: String,
        revision: String,
        error: String,
        cache: PathBuf,
    },
    #[error("{repository}@{revision} has no {file}")]
    Lacking {
        repository: String,
        revision: String,
        file: &'static str,
    },
    #[error("{file} of {repository}@{revision} cannot be downloaded: {error}")]
    Download {
        repository: String,
        revision: String,
        file: String,
        error: ApiError,
    },
    #[error("{file} of {repository}@{revision} cannot be downloaded whole: {error}")]
    Plain {
        repository: String,
        revision: String,
        file: String,
        error: PlainError,
    },
    #[error("there is no home directory to keep it in; set HF_HOME")]
    NoCache,
    #[error("the hub client cannot be set up: {0}")]
    Client(ApiError),
}

/// The directory with the repository's files at a revision.
pub async fn fetch(repository: &str, revision: &str) -> Result<PathBuf, HubError> {
    let cache = find_cache()?;
    let hub = Hub {
        api: connect(&cache)?,
        cache,
        repository: repository.to_owned(),
        revision: revision.to_owned(),
    };
    let described = match std::env::var("HF_HUB_OFFLINE").as_deref() {
        Ok("1" | "true" | "TRUE" | "on" | "yes") => Err("HF_HUB_OFFLINE is set".to_owned()),
        _ => hub.describe().await,
    };
    match described {
        Ok(repository) => hub.download(&repository).await,
        Err(error) => hub.cached(error),
    }
}

/// The cache that the environment names; a process without a home needs it in its configuration.
fn find_cache() -> Result<Cache, HubError> {
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        return Err(HubError::NoCache);
    }
    Ok(Cache::from_env())
}

/// An environment variable that is not empty.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn token(cache: &Cache) -> Option<String> {
    set("HF_TOKEN").or_else(|| cache.token())
}

fn connect(cache: &Cache) -> Result<Api, HubError> {
    let mut builder = ApiBuilder::from_cache(cache.clone())
        .with_progress(false)
        .with_chunk_size(Some(CHUNK_BYTES))
        .with_token(token(cache));
    if let Some(endpoint) = set("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    builder.build().map_err(HubError::Client)
}

struct Hub {
    api: Api,
    cache: Cache,
    repository: String,
    revision: String,
}

/// What the hub says of a repository at a revision.
struct Described {
    commit: String,
    files: Vec<String>,
}

impl Hub {
    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(
            self.repository.clone(),
            RepoType::Model,
            revision.to_owned(),
        )
    }

    async fn describe(&self) -> Result<Described, String> {
        let repository = self.api.repo(self.at(&self.revision));
        let answer = tokio::time::timeout(HUB_PATIENCE, repository.info()).await;
        let info = answer
            .map_err(|_| format!("no answer within {} s", HUB_PATIENCE.as_secs()))?
            .map_err(|error| error.to_string())?;
        Ok(Described {
            commit: info.sha,
            files: info
                .siblings
                .into_iter()
                .map(|sibling| sibling.rfilename)
                .collect(),
        })
    }

    /// Gets what is not in the cache yet, all of one commit.
    async fn download(&self, described: &Described) -> Result<PathBuf, HubError> {
        let commit = self.at(&described.commit);
        let remote = self.api.repo(commit.clone());
        let cached = self.cache.repo(commit);
        let wanted = wanted(&described.files);
        for file in &wanted {
            if cached.get(file).is_none() {
                self.download_file(&remote, &cached, &described.commit, file)
                    .await?;
            }
        }
        let Some(weights) = WEIGHTS.iter().find_map(|weights| cached.get(weights)) else {
            return Err(HubError::Lacking {
                repository: self.repository.clone(),
                revision: self.revision.clone(),
                file: WEIGHTS_FILE,
            });
        };
        // So that the branch is found without a network.
        if let Err(error) = self
            .cache
            .repo(self.at(&self.revision))
            .create_ref(&described.commit)
        {
            warn!(%error, revision = self.revision, "the cache cannot note the revision");
        }
        Ok(directory_of(weights))
    }

    async fn download_file(
        &self,
        remote: &ApiRepo,
        cached: &CacheRepo,
        commit: &str,
        file: &str,
    ) -> Result<(), HubError> {
        let mut tries = 1;
        loop {
            let log = Log::default();
            let error = match remote.download_with_progress(file, log.clone()).await {
                Ok(_) if log.is_whole() => return Ok(()),
                // The library believes whatever comes for a range.
                Ok(pointer) => {
                    let (received, size) = log.received();
                    warn!(
                        file,
                        received,
                        size,
                        "the hub answered ranges with other bytes than those asked for; downloading the whole file"
                    );
                    plain::forget(&pointer);
                    return self.download_whole(remote, cached, commit, file).await;
                }
                Err(error) => error,
            };
            if plain::is_whole(&error) {
                info!(
                    file,
                    "the hub does not support ranges; downloading the whole file"
                );
                return self.download_whole(remote, cached, commit, file).await;
            }
            if tries == TRIES {
                return Err(HubError::Download {
                    repository: self.repository.clone(),
                    revision: self.revision.clone(),
                    file: file.to_owned(),
                    error,
                });
            }
            warn!(file, tries, %error, "the download was interrupted; resuming");
            tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(tries)).await;
            tries += 1;
        }
    }

    async fn download_whole(
        &self,
        remote: &ApiRepo,
        cached: &CacheRepo,
        commit: &str,
        file: &str,
    ) -> Result<(), HubError> {
        let url = remote.url(file);
        let token = token(&self.cache);
        let done = plain::download(&url, token.as_deref(), cached, commit, file).await;
        done.map_err(|error| HubError::Plain {
            repository: self.repository.clone(),
            revision: self.revision.clone(),
            file: file.to_owned(),
            error,
        })
    }

    /// The snapshot that an earlier start left, `error` being why the hub was of no use.
    fn cached(&self, error: String) -> Result<PathBuf, HubError> {
        let cached = self.cache.repo(self.at(&self.revision));
        match WEIGHTS.iter().find_map(|weights| cached.get(weights)) {
            Some(weights) => {
                warn!(%error, "the hub was not asked; using the model in the cache");
                Ok(directory_of(weights))
            }
            None => Err(HubError::Unreachable {
                repository: self.repository.clone(),
                revision: self.revision.clone(),
                error,
                cache: self.cache.path().clone(),
            }),
        }
    }
}

/// Of these files those that a worker reads. The weights come last, or the index behind the files that
/// it names, so that a snapshot which has them has all the rest.
fn wanted(there: &[String]) -> Vec<&str> {
    let has = |file: &str| there.iter().any(|name| name == file);
    let mut wanted: Vec<&str> = FILES.into_iter().filter(|file| has(file)).collect();
    if !has(WEIGHTS_FILE) {
        // `save_pretrained` names them model-00001-of-00002.safetensors.
        let is_part = |name: &str| name.starts_with("model-") && name.ends_with(".safetensors");
        wanted.extend(
            there
                .iter()
                .map(String::as_str)
                .filter(|name| is_part(name)),
        );
    }
    wanted.extend(WEIGHTS.into_iter().find(|file| has(file)));
    wanted
}

fn directory_of(mut file: PathBuf) -> PathBuf {
    file.pop();
    file
}

/// Says every tenth of a large file, and counts what came.
#[derive(Clone, Default)]
struct Log {
    file: String,
    size: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

impl Log {
    /// Bytes that came, those of an earlier try counted, and the size of the file.
    fn received(&self) -> (usize, usize) {
        let load = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (load(&self.done), load(&self.size))
    }

    fn is_whole(&self) -> bool {
        let (received, size) = self.received();
        received == size
    }
}

impl Progress for Log {
    async fn init(&mut self, size: usize, file: &str) {
        self.size.store(size, Ordering::Relaxed);
        self.file = file.to_owned();
        info!(file, megabytes = size >> 20, "downloading");
    }

    async fn update(&mut self, bytes: usize) {
        let before = self.done.fetch_add(bytes, Ordering::Relaxed);
        let size = self.size.load(Ordering::Relaxed);
        let tenths = |done: usize| done * 10 / size.max(1);
        if size > CHUNK_BYTES && tenths(before) < tenths(before + bytes) {
            info!(
                file = self.file,
                percent = tenths(before + bytes) * 10,
                "downloading"
            );
        }
    }

    async fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repository_what_is_read_is_fetched_and_the_weights_last() {
        let there = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let one = there(&[
            INDEX_FILE,
            "model-00001-of-00001.safetensors",
            WEIGHTS_FILE,
            "README.md",
            "config.json",
        ]);
        assert_eq!(wanted(&one), ["config.json", WEIGHTS_FILE]);
        let parts = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let several = there(&[
            parts[1],
            INDEX_FILE,
            "config.json",
            parts[0],
            "pytorch_model.bin",
        ]);
        let fetched = wanted(&several);
        assert_eq!(fetched, ["config.json", parts[1], parts[0], INDEX_FILE]);
        assert_eq!(wanted(&there(&["config.json"])), ["config.json"]);
    }
}
