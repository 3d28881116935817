//! What a runner asks of the store for a part at work: its input, its orders, and in the end the place
//! for its answers.

use std::path::Path;
use std::time::Duration;

use reqwest::Response;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::info;

use super::batches::{Asked, ended_key, part_key};
use super::bucket::{Put, SERVICE, payload_of};
use super::files::content_key;
use super::parts::{Ending, Head, Part, counts_key};
use super::working::Named;
use super::{SharedError, SharedStore};
use crate::clock::unix_seconds;
use crate::disk::write_whole;
use crate::journal::Journal;
use crate::store::StoreError;
use crate::work::Order;

/// How often a part at work looks whether its batch is to end.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// At least so long between two looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

impl SharedStore {
    /// Leaves word that somebody works on a batch.
    pub async fn begin(&self, batch: &str) -> Result<(), SharedError> {
        let begin = format!("work/{batch}/begun/");
        if self.bucket.page(&begin, None).await?.0.is_empty() {
            info!(batch, "begun");
            let key = format!("{begin}{}", unix_seconds());
            self.bucket.mark(&key).await?;
        }
        Ok(())
    }

    /// Gets the input of a part, whole or not at all.
    pub async fn fetch(
        &self,
        named: Named<'_>,
        asked: &Asked,
        part: Part,
        to: &Path,
    ) -> Result<(), StoreError> {
        let file = &asked.row.batch.input_file_id;
        let range = Some((part.offset, part.bytes));
        let content = self
            .bucket
            .get(&content_key(named.owner, file), range)
            .await;
        let changed = |why| {
            let file = file.clone();
            SharedError::Input { file, why }
        };
        let content = match content {
            Err(SharedError::Refused { status: 416, .. }) => {
                return Err(changed(format!("it ends before byte {}", part.offset)).into());
            }
            content => content?,
        };
        let content = content.ok_or_else(|| StoreError::NoFile(file.clone()))?;
        let half = to.with_extension("half");
        let bytes = fetch_into(&half, content).await.inspect_err(|_| {
            let _ = std::fs::remove_file(&half);
        })?;
        if bytes != part.bytes {
            let _ = std::fs::remove_file(&half);
            let (from, expected) = (part.offset, part.bytes);
            let why = format!("found {bytes} bytes from {from} on, expected {expected}");
            return Err(changed(why).into());
        }
        let named = tokio::fs::rename(&half, to).await;
        Ok(named.map_err(SharedError::io(to))?)
    }

    /// What is to be done with a batch at work. Not to know is to go on.
    pub async fn order(
        &self,
        batch: &str,
        expires_at: u64,
        stopped: &watch::Receiver<bool>,
    ) -> Order {
        if *stopped.borrow() {
            return Order::Pause;
        }
        let begin = format!("work/{batch}/cancel/");
        match self.bucket.page(&begin, None).await {
            Ok((marks, _)) if !marks.is_empty() => Order::Cancel,
            _ if expires_at <= unix_seconds() => Order::Expire,
            _ => Order::Work,
        }
    }

    /// Gives one order, when there is one to give. Lives as long as the part is at work.
    pub async fn give_orders(
        &self,
        batch: &str,
        expires_at: u64,
        mut stopped: watch::Receiver<bool>,
        orders: &watch::Sender<Order>,
    ) {
        loop {
            let left = Duration::from_secs(expires_at.saturating_sub(unix_seconds()));
            tokio::select! {
                () = sleep(LOOK_EVERY.min(left).max(SHORTEST_LOOK)) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            let order = self.order(batch, expires_at, &stopped).await;
            if order != Order::Work {
                orders.send_replace(order);
                return std::future::pending().await;
            }
        }
    }

    /// Puts the answers of a part, unless others have.
    pub async fn commit(
        &self,
        named: Named<'_>,
        journal: &Journal,
        ending: Ending,
    ) -> Result<(), SharedError> {
        let Named { owner, batch, part } = named;
        let path = self.scratch.answers(batch, part);
        let payload = tokio::task::block_in_place(|| {
            let written = write_whole(&path, |out| {
                Head::write(ending, journal.counts(), out)?;
                journal.write_marked(out)
            });
            written.map_err(SharedError::io(&path))?;
            payload_of(&path)
        })?;
        if self.bucket.put_new(&part_key(batch, part), payload).await? == Put::Done {
            let counts = counts_key(part, journal.counts());
            let key = format!("work/{batch}/counts/{counts}");
            self.bucket.mark(&key).await?;
        }
        // It may have been answered and ended by others meanwhile.
        if self.bucket.has(&ended_key(owner, batch)).await? {
            self.clean_up(owner, batch).await?;
        }
        Ok(())
    }
}

/// Writes what comes to a file, and gives the number of its bytes.
async fn fetch_into(half: &Path, mut content: Response) -> Result<u64, SharedError> {
    let out = tokio::fs::File::create(half).await;
    let mut out = out.map_err(SharedError::io(half))?;
    let mut bytes = 0;
    loop {
        let piece = content.chunk().await;
        let piece = piece.map_err(SharedError::unreachable(SERVICE))?;
        let Some(piece) = piece else { break };
        bytes += piece.len() as u64;
        let written = out.write_all(&piece).await;
        written.map_err(SharedError::io(half))?;
    }
    out.flush().await.map_err(SharedError::io(half))?;
    Ok(bytes)
}
