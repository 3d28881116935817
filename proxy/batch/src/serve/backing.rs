//! Where files and batches are: on this machine, or in a store that many machines share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use tokio::sync::watch;

use super::schedule::Schedule;
use crate::config::Config;
use crate::disk::pieces;
use crate::gate::Gate;
use crate::input::Endpoint;
use crate::metrics::Backlog;
use crate::sagemaker::{Answerer, Invocation};
use crate::shared::{Runner, SharedStore};
use crate::store::{
    Batch, FileObject, NewBatch, NewDeferred, NewFile, Page, SortOrder, Store, StoreError,
};
use crate::work::Shared;

/// Ended batches of an overview.
const ENDED_LISTED: usize = 10;

pub enum Backing {
    Local {
        store: Arc<Store>,
        schedule: Arc<Schedule>,
    },
    Shared {
        store: Arc<SharedStore>,
        runner: Arc<Runner>,
    },
}

/// A page of a list, as a task may hold it.
pub struct PageOf {
    pub after: Option<String>,
    pub limit: u32,
    pub order: SortOrder,
}

impl PageOf {
    fn page(&self) -> Page<'_> {
        Page {
            after: self.after.as_deref(),
            limit: self.limit,
            order: self.order,
        }
    }
}

impl Backing {
    /// Opens the one that the configuration names.
    pub async fn open(
        config: &Config,
        shared: Arc<Shared>,
        answerer: Option<Arc<Answerer>>,
    ) -> Result<Backing, StoreError> {
        if let Some(store) = SharedStore::connect(config).await? {
            let store = Arc::new(store);
            let runner = Runner::new(Arc::clone(&store), shared, answerer, config.batches.at_once);
            return Ok(Backing::Shared { store, runner });
        }
        let opened = || Store::open(&config.store, config.quota.clone());
        let store = Arc::new(tokio::task::block_in_place(opened)?);
        let schedule = Schedule::new(Arc::clone(&store), shared, answerer, &config.batches);
        Ok(Backing::Local { store, schedule })
    }

    /// Works on batches until told to stop.
    pub async fn run(&self, stopped: watch::Receiver<bool>) {
        match self {
            Backing::Local { schedule, .. } => Arc::clone(schedule).run(stopped).await,
            Backing::Shared { runner, .. } => Arc::clone(runner).run(stopped).await,
        }
    }

    pub fn gate(&self) -> &Gate {
        match self {
            Backing::Local { schedule, .. } => schedule.gate(),
            Backing::Shared { runner, .. } => runner.gate(),
        }
    }

    /// A place for what is not whole yet.
    pub fn upload_path(&self, name: &str) -> PathBuf {
        match self {
            Backing::Local { store, .. } => store.upload_path(name),
            Backing::Shared { store, .. } => store.upload_path(name),
        }
    }

    pub async fn add_file(
        &self,
        owner: String,
        new: NewFile,
        upload: &Path,
    ) -> Result<FileObject, StoreError> {
        match self {
            Backing::Local { store, .. } => {
                let upload = upload.to_owned();
                let add = move |store: &Store| store.add_file(&owner, &new, &upload);
                store.call(add).await
            }
            Backing::Shared { store, .. } => store.add_file(&owner, &new, upload).await,
        }
    }

    pub async fn file(&self, owner: String, id: String) -> Result<FileObject, StoreError> {
        match self {
            Backing::Local { store, .. } => store.call(move |store| store.file(&owner, &id)).await,
            Backing::Shared { store, .. } => store.file(&owner, &id).await,
        }
    }

    pub async fn files(
        &self,
        owner: String,
        purpose: Option<String>,
        page: PageOf,
    ) -> Result<(Vec<FileObject>, bool), StoreError> {
        match self {
            Backing::Local { store, .. } => {
                let list =
                    move |store: &Store| store.files(&owner, purpose.as_deref(), page.page());
                store.call(list).await
            }
            Backing::Shared { store, .. } => {
                store.files(&owner, purpose.as_deref(), page.page()).await
            }
        }
    }

    pub async fn remove_file(&self, owner: String, id: String) -> Result<(), StoreError> {
        match self {
            Backing::Local { store, .. } => {
                store
                    .call(move |store| store.remove_file(&owner, &id))
                    .await
            }
            Backing::Shared { store, .. } => store.remove_file(&owner, &id).await,
        }
    }

    /// Removes files whose time is over.
    pub async fn remove_expired(&self) -> Result<usize, StoreError> {
        match self {
            Backing::Local { store, .. } => store.call(Store::remove_expired).await,
            Backing::Shared { store, .. } => store.remove_expired().await,
        }
    }

    /// What is known of a file, and its content.
    pub async fn content(
        &self,
        owner: String,
        id: String,
    ) -> Result<(FileObject, Body), StoreError> {
        let store = match self {
            Backing::Local { store, .. } => store,
            Backing::Shared { store, .. } => {
                let (file, content) = store.content(&owner, &id).await?;
                return Ok((file, Body::from_stream(content.bytes_stream())));
            }
        };
        let file = store.call(move |store| store.file(&owner, &id)).await?;
        let path = store.file_path(&file.id);
        let opened = tokio::fs::File::open(&path).await;
        let opened = opened.map_err(|cause| StoreError::Io { path, cause })?;
        Ok((file, Body::from_stream(pieces(opened))))
    }

    pub async fn add_batch(&self, owner: String, new: NewBatch) -> Result<Batch, StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let added = store.call(move |store| store.add_batch(&owner, new)).await;
                schedule.look();
                added
            }
            Backing::Shared { store, .. } => store.add_batch(&owner, new).await,
        }
    }

    /// Keeps an asynchronous request until its answer is in S3.
    pub async fn add_invocation(
        &self,
        owner: String,
        invocation: Invocation,
        body: Bytes,
    ) -> Result<(), StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let new = NewDeferred {
                    name: invocation.name.clone(),
                    // The body says where it goes, and may be in S3 yet.
                    endpoint: Endpoint::Inputs,
                    bytes: 0,
                    window_seconds: invocation.expires_at - invocation.created_at,
                    keep_seconds: 0,
                    invocation: Some(invocation),
                };
                let keep = move |store: &Store| store.keep_deferred(&owner, new, &body);
                store.call(keep).await?;
                schedule.look();
                Ok(())
            }
            Backing::Shared { store, .. } => store.add_invocation(&owner, &invocation, &body).await,
        }
    }

    pub async fn batch(&self, owner: String, id: String) -> Result<Batch, StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let mut batch = store.call(move |store| store.batch(&owner, &id)).await?;
                schedule.count(&mut batch);
                Ok(batch)
            }
            Backing::Shared { store, .. } => store.batch(&owner, &id).await,
        }
    }

    pub async fn batches(
        &self,
        owner: String,
        page: PageOf,
    ) -> Result<(Vec<Batch>, bool), StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let list = move |store: &Store| store.batches(&owner, page.page());
                let (mut batches, has_more) = store.call(list).await?;
                for batch in &mut batches {
                    schedule.count(batch);
                }
                Ok((batches, has_more))
            }
            Backing::Shared { store, .. } => store.batches(&owner, page.page()).await,
        }
    }

    pub async fn cancel(&self, owner: String, id: String) -> Result<Batch, StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let mut batch = store.call(move |store| store.cancel(&owner, &id)).await?;
                schedule.look();
                schedule.count(&mut batch);
                Ok(batch)
            }
            Backing::Shared { store, .. } => store.cancel(&owner, &id).await,
        }
    }

    /// The unfinished batches of all owners, oldest first, then some that ended; with their owners.
    /// A shared store lists no ended ones, and is looked at every few seconds.
    pub async fn all_batches(&self) -> Result<Vec<(String, Batch)>, StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let mut all = store.call(|store| store.all_batches(ENDED_LISTED)).await?;
                for (_, batch) in &mut all {
                    schedule.count(batch);
                }
                Ok(all)
            }
            Backing::Shared { store, .. } => store.all_batches().await,
        }
    }

    /// The model that a batch's first line names, where the input is on this machine.
    pub async fn model(&self, batch: &Batch) -> Option<String> {
        let Backing::Local { store, .. } = self else {
            return None;
        };
        let path = store.input_path(batch);
        let read = move || crate::input::first_model(&path).ok().flatten();
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    /// What is left to do.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        match self {
            Backing::Local { store, schedule } => {
                let running = schedule.counts();
                store.call(move |store| store.backlog(&running)).await
            }
            Backing::Shared { store, .. } => store.backlog().await,
        }
    }
}
