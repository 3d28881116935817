//! Files in the bucket.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Response;
use serde::{Deserialize, Serialize};

use super::batches::fresh_id;
use super::bucket::{Listed, payload_of};
use super::parts::{Part, split};
use super::{SharedError, SharedStore, whole};
use crate::clock::unix_seconds;
use crate::id;
use crate::input::{Checked, Endpoint};
use crate::store::{FileObject, NewFile, Page, StoreError, paged};

const BUFFER_BYTES: usize = 1 << 20;

/// Objects asked for at once.
pub const AT_ONCE: usize = 16;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    pub id: String,
    pub bytes: u64,
    pub created_at: u64,
    pub expires_at: u64,
    pub filename: String,
    pub purpose: String,
    /// Of an input.
    pub lines: Option<u32>,
    pub endpoint: Option<Endpoint>,
    #[serde(default)]
    pub parts: Vec<Part>,
}

impl Known {
    pub fn new(id: String, new: &NewFile, parts: Vec<Part>) -> Known {
        let created_at = unix_seconds();
        Known {
            id,
            bytes: new.bytes,
            created_at,
            expires_at: created_at + new.keep_seconds,
            filename: new.filename.clone(),
            purpose: new.purpose.clone(),
            lines: new.checked.map(|checked| checked.lines),
            endpoint: new.checked.map(|checked| checked.endpoint),
            parts,
        }
    }

    pub fn object(&self) -> FileObject {
        let checked = self.lines.zip(self.endpoint);
        FileObject {
            id: self.id.clone(),
            object: "file",
            bytes: self.bytes,
            created_at: self.created_at,
            expires_at: Some(self.expires_at),
            filename: self.filename.clone(),
            purpose: self.purpose.clone(),
            status: "processed",
            checked: checked.map(|(lines, endpoint)| Checked { lines, endpoint }),
        }
    }
}

impl SharedStore {
    /// Keeps what lies at `upload` under a new name.
    pub async fn add_file(
        &self,
        owner: &str,
        new: &NewFile,
        upload: &Path,
    ) -> Result<FileObject, StoreError> {
        self.check_files_quota(owner, new.bytes).await?;
        let (lines, bytes) = (self.part_lines, self.part_bytes);
        let parts = tokio::task::block_in_place(|| {
            let input = BufReader::with_capacity(BUFFER_BYTES, File::open(upload)?);
            split(input, lines, bytes)
        });
        let parts = parts.map_err(SharedError::io(upload))?;
        let known = Known::new(fresh_id("file-")?, new, parts);
        self.keep(owner, &known, upload).await?;
        Ok(known.object())
    }

    /// Puts a file: when it is to be removed, then its content, then what is known of it. May be done
    /// again.
    pub async fn keep(&self, owner: &str, known: &Known, at: &Path) -> Result<(), SharedError> {
        let id = &known.id;
        let payload = tokio::task::block_in_place(|| payload_of(at))?;
        self.bucket.mark(&expiry_key(owner, known)).await?;
        self.bucket.put(&content_key(owner, id), payload).await?;
        self.bucket.put_json(&file_key(owner, id), known).await
    }

    /// Two uploads at one moment may pass it together.
    async fn check_files_quota(&self, owner: &str, bytes: u64) -> Result<(), StoreError> {
        let held = self.bucket.list(&format!("contents/{owner}/")).await?;
        let held_bytes: u64 = held.iter().map(|object| object.bytes).sum();
        self.quota.check_files(held.len() as u64, held_bytes, bytes)
    }

    pub async fn known(&self, owner: &str, id: &str) -> Result<Known, StoreError> {
        let known = match id::is_one(id) {
            true => self.bucket.get_json(&file_key(owner, id)).await?,
            false => None,
        };
        known.ok_or_else(|| StoreError::NoFile(id.to_owned()))
    }

    pub async fn file(&self, owner: &str, id: &str) -> Result<FileObject, StoreError> {
        Ok(self.known(owner, id).await?.object())
    }

    /// What is known of a file, and its content as it comes.
    pub async fn content(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<(FileObject, Response), StoreError> {
        let file = self.file(owner, id).await?;
        let content = self.bucket.get(&content_key(owner, id), None).await?;
        let content = content.ok_or_else(|| StoreError::NoFile(id.to_owned()))?;
        Ok((file, content))
    }

    /// A page of the owner's files, and whether there are more. Names are in the order of time.
    pub async fn files(
        &self,
        owner: &str,
        purpose: Option<&str>,
        page: Page<'_>,
    ) -> Result<(Vec<FileObject>, bool), StoreError> {
        let begin = format!("files/{owner}/");
        let ids = ids_of(&self.bucket.list(&begin).await?, &begin);
        if let Some(after) = page.after.filter(|after| !ids.iter().any(|id| id == after)) {
            return Err(StoreError::NoFile(after.to_owned()));
        }
        let known: Vec<Option<Known>> = stream::iter(ids)
            .map(|id| async move { whole(self.bucket.get_json(&file_key(owner, &id)).await) })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let wanted = |known: &Known| purpose.is_none_or(|purpose| known.purpose == purpose);
        let files = known.into_iter().flatten().filter(wanted);
        let files: Vec<_> = files.map(|known| known.object()).collect();
        Ok(paged(files, |file| &file.id, page))
    }

    /// Removes a file that no unfinished batch needs.
    pub async fn remove_file(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        let known = self.known(owner, id).await?;
        if let Some(batch) = self.used_by(owner, id).await? {
            let file = id.to_owned();
            return Err(StoreError::FileInUse { file, batch });
        }
        self.bucket.delete(&file_key(owner, id)).await?;
        self.bucket.delete(&content_key(owner, id)).await?;
        Ok(self.bucket.delete(&expiry_key(owner, &known)).await?)
    }

    /// Removes files whose time is over; those that a batch still needs go later.
    pub async fn remove_expired(&self) -> Result<usize, StoreError> {
        let now = unix_seconds();
        let mut removed = 0;
        for object in self.bucket.page("expiry/", None).await?.0 {
            let Some((seconds, owner, id)) = read_expiry(&object.key) else {
                continue;
            };
            if seconds > now {
                break;
            }
            if self.used_by(owner, id).await?.is_some() {
                continue;
            }
            self.bucket.delete(&file_key(owner, id)).await?;
            self.bucket.delete(&content_key(owner, id)).await?;
            self.bucket.delete(&object.key).await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn used_by(&self, owner: &str, file: &str) -> Result<Option<String>, StoreError> {
        let open = self.open_of(owner).await?;
        let user = open.into_iter().find(|row| row.batch.input_file_id == file);
        Ok(user.map(|row| row.batch.id))
    }
}

/// The names behind a common begin.
pub fn ids_of(listed: &[Listed], begin: &str) -> Vec<String> {
    let ids = (listed.iter()).filter_map(|object| object.key.strip_prefix(begin));
    ids.map(str::to_owned).collect()
}

fn file_key(owner: &str, id: &str) -> String {
    format!("files/{owner}/{id}")
}

pub fn content_key(owner: &str, id: &str) -> String {
    format!("contents/{owner}/{id}")
}

fn expiry_key(owner: &str, known: &Known) -> String {
    format!("expiry/{:012}.{owner}.{}", known.expires_at, known.id)
}

fn read_expiry(key: &str) -> Option<(u64, &str, &str)> {
    let mut words = key.strip_prefix("expiry/")?.splitn(3, '.');
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?))
}
