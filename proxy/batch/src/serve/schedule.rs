//! Which batches run: a limited number at once, next the oldest of the owner with the fewest running. An
//! owner with none running does not wait for others, whose batches may take hours.
//!
//! A batch that is to be cancelled or has expired does not wait for its turn, because it has little to
//! do. Neither does a deferred request, which is one line.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::clock::unix_seconds;
use crate::config::BatchRules;
use crate::gate::Gate;
use crate::journal::{Counts, JournalError};
use crate::sagemaker::{Answerer, Ended, Invocation};
use crate::shared::SharedError;
use crate::store::{Batch, Row, Status, Store, StoreError, Unfinished};
use crate::work::{End, Input, Job, Order, Shared, Work, WorkError};

/// How often expiry is looked at, and a batch that stumbled is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Deferred requests at work at once; the gate lets fewer through.
const MOST_DEFERRED: usize = 256;

/// Batches beyond the limit, each of an owner that has no other running.
const MOST_OWNERS: usize = 64;

/// After a failure that may pass.
const TRY_AGAIN: Duration = Duration::from_secs(5);

pub struct Schedule {
    store: Arc<Store>,
    shared: Arc<Shared>,
    /// Where answers of deferred requests go to S3.
    answerer: Option<Arc<Answerer>>,
    at_once: usize,
    running: Mutex<HashMap<String, Running>>,
    news: Notify,
}

/// A batch at work, from outside.
struct Running {
    owner: String,
    orders: watch::Sender<Order>,
    progress: watch::Receiver<Counts>,
    /// It counts towards the limit.
    has_turn: bool,
    is_deferred: bool,
}

/// Why a batch stopped before its end.
#[derive(Debug, thiserror::Error)]
enum Stumble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    S3(#[from] SharedError),
    #[error("{}: {cause}", path.display())]
    Body {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("its answer goes to S3, and `sagemaker.s3.output` is not set any more")]
    NoPlaces,
}

impl Schedule {
    pub fn new(
        store: Arc<Store>,
        shared: Arc<Shared>,
        answerer: Option<Arc<Answerer>>,
        rules: &BatchRules,
    ) -> Arc<Schedule> {
        Arc::new(Schedule {
            store,
            shared,
            answerer,
            at_once: rules.at_once,
            running: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// Something has changed in the store.
    pub fn look(&self) {
        self.news.notify_one();
    }

    pub fn gate(&self) -> &Gate {
        &self.shared.asker.gate
    }

    /// How far the batches at work are.
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        let running = self.running();
        (running.iter())
            .map(|(id, one)| (id.clone(), *one.progress.borrow()))
            .collect()
    }

    /// Brings a batch's counts up to now.
    pub fn count(&self, batch: &mut Batch) {
        if !batch.status.has_ended()
            && let Some(running) = self.running().get(&batch.id)
        {
            batch.count(*running.progress.borrow());
        }
    }

    /// Works until told to stop; then what is asked is waited for.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut at_work = JoinSet::new();
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            match self.store.call(Store::unfinished).await {
                Ok(unfinished) => self.begin(unfinished, &mut at_work),
                Err(error) => error!(%error, "the unfinished batches cannot be read"),
            }
            tokio::select! {
                () = self.news.notified() => {}
                Some(_) = at_work.join_next() => {}
                _ = interval.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        for running in self.running().values() {
            running.orders.send_replace(Order::Pause);
        }
        while at_work.join_next().await.is_some() {}
    }

    /// Gives orders to those at work, and begins with those whose turn it is.
    fn begin(self: &Arc<Self>, unfinished: Vec<Unfinished>, at_work: &mut JoinSet<()>) {
        let mut running = self.running();
        let mut waiting = Vec::new();
        let deferred = running.values().filter(|one| one.is_deferred).count();
        let mut room = MOST_DEFERRED.saturating_sub(deferred);
        for one in unfinished {
            let order = order_for(&one.row);
            match running.get(&one.row.batch.id) {
                Some(at_work) => {
                    at_work.orders.send_if_modified(|now| {
                        let is_new = *now == Order::Work && order != Order::Work;
                        if is_new {
                            *now = order;
                        }
                        is_new
                    });
                }
                None if order != Order::Work => self.start(&mut running, one, order, at_work),
                None if one.row.is_deferred && room == 0 => {}
                None if one.row.is_deferred => {
                    room -= 1;
                    self.start(&mut running, one, order, at_work);
                }
                None => waiting.push(one),
            }
        }
        while let Some(next) = next_of(&running, &waiting, self.at_once) {
            self.start(&mut running, waiting.remove(next), Order::Work, at_work);
        }
    }

    fn start(
        self: &Arc<Self>,
        running: &mut HashMap<String, Running>,
        one: Unfinished,
        order: Order,
        at_work: &mut JoinSet<()>,
    ) {
        let (orders, obeyed) = watch::channel(order);
        let (counts, progress) = watch::channel(Counts::default());
        let id = one.row.batch.id.clone();
        let entry = Running {
            owner: one.owner.clone(),
            orders,
            progress,
            has_turn: order == Order::Work && !one.row.is_deferred,
            is_deferred: one.row.is_deferred,
        };
        running.insert(id.clone(), entry);
        let schedule = Arc::clone(self);
        at_work.spawn(async move {
            if let Err(stumble) = schedule.work_on(one, obeyed.clone(), counts).await {
                schedule.stumbled(&id, &stumble, obeyed).await;
            }
            schedule.running().remove(&id);
            schedule.look();
        });
    }

    async fn work_on(
        &self,
        one: Unfinished,
        orders: watch::Receiver<Order>,
        progress: watch::Sender<Counts>,
    ) -> Result<(), Stumble> {
        if let Some(invocation) = one.row.invocation.clone() {
            return self.invoke(&one, &invocation, orders).await;
        }
        let Unfinished { owner, mut row } = one;
        let id = row.batch.id.clone();
        let batch = row.batch.clone();
        let store = &self.store;
        let (journal, damaged) = tokio::task::block_in_place(|| store.journal(&batch))?;
        if damaged > 0 {
            warn!(batch = %id, damaged, "answers in the journal are damaged; their lines are sent again");
        }
        if row.batch.status == Status::Validating {
            row = self
                .change(&id, |row| row.batch.set_status(Status::InProgress))
                .await?;
            info!(batch = %id, lines = row.batch.request_counts.total, "begun");
        }
        let input = Input {
            path: store.input_path(&row.batch),
            before: 0,
        };
        let job = Job {
            batch: id.clone(),
            owner: owner.clone(),
            input,
            lines: Some(row.batch.request_counts.total),
        };
        let shared = Arc::clone(&self.shared);
        let work = Work::new(job, journal, shared, orders, progress);
        let (journal, end) = work.run().await?;
        let End::Whole(order) = end else {
            return Ok(());
        };
        if row.ending.is_none() {
            row = self.change(&id, move |row| set_ending(row, order)).await?;
        }
        let finished = store
            .call(move |store| store.finish(&owner, &row, &journal))
            .await?;
        let (status, counts) = (finished.status.word(), finished.request_counts);
        info!(batch = %id, status, answered = counts.completed, failed = counts.failed, "ended");
        Ok(())
    }

    /// Answers a deferred request whose answer goes to S3, and forgets it then.
    async fn invoke(
        &self,
        one: &Unfinished,
        invocation: &Invocation,
        orders: watch::Receiver<Order>,
    ) -> Result<(), Stumble> {
        let answerer = self.answerer.as_ref().ok_or(Stumble::NoPlaces)?;
        let body = match invocation.input {
            Some(_) => None,
            None => {
                let path = self.store.input_path(&one.row.batch);
                let body = tokio::fs::read(&path).await;
                Some(body.map_err(|cause| Stumble::Body { path, cause })?.into())
            }
        };
        let paused = || {
            let mut orders = orders.clone();
            async move {
                // Whoever gives orders lives as long as the request is at work.
                let _ = orders.wait_for(|order| *order == Order::Pause).await;
            }
        };
        match answerer.run(&one.owner, invocation, body, paused).await? {
            Ended::Stopped => Ok(()),
            Ended::Delivered => {
                let row = one.row.clone();
                Ok(self
                    .store
                    .call(move |store| store.end_invocation(&row))
                    .await?)
            }
        }
    }

    async fn change(
        &self,
        id: &str,
        act: impl FnOnce(&mut Row) + Send + 'static,
    ) -> Result<Row, StoreError> {
        let id = id.to_owned();
        self.store.call(move |store| store.change(&id, act)).await
    }

    /// What may pass is tried again after a while; what cannot pass ends the batch.
    async fn stumbled(&self, id: &str, stumble: &Stumble, mut orders: watch::Receiver<Order>) {
        if stumble.may_pass() {
            error!(batch = %id, error = %stumble, "the batch is interrupted and will be retried");
            let paused = orders.wait_for(|order| *order == Order::Pause);
            let _ = tokio::time::timeout(TRY_AGAIN, paused).await;
            return;
        }
        error!(batch = %id, error = %stumble, "the batch failed");
        let (id, message) = (id.to_owned(), stumble.to_string());
        let failed = self
            .store
            .call(move |store| store.fail(&id, "store_failed", message));
        if let Err(error) = failed.await {
            error!(%error, "the failure of the batch cannot be recorded");
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stumble {
    fn may_pass(&self) -> bool {
        match self {
            Stumble::Store(_) | Stumble::S3(_) | Stumble::NoPlaces => true,
            Stumble::Body { cause, .. } => cause.kind() != std::io::ErrorKind::NotFound,
            Stumble::Work(WorkError::Journal(error)) | Stumble::Journal(error) => {
                matches!(error, JournalError::Io { .. } | JournalError::InUse { .. })
            }
            Stumble::Work(WorkError::Input { cause, .. }) => {
                cause.kind() != std::io::ErrorKind::NotFound
            }
            Stumble::Work(_) => false,
        }
    }
}

fn order_for(row: &Row) -> Order {
    match row.batch.status {
        Status::Cancelling => Order::Cancel,
        // Its lines have their answers.
        Status::Finalizing => Order::Work,
        _ if row.batch.expires_at <= unix_seconds() => Order::Expire,
        _ => Order::Work,
    }
}

fn set_ending(row: &mut Row, order: Order) {
    let (ending, status) = match order {
        Order::Cancel => (Status::Cancelled, Status::Cancelling),
        Order::Expire => (Status::Expired, Status::Finalizing),
        Order::Work | Order::Pause => (Status::Completed, Status::Finalizing),
    };
    row.ending = Some(ending);
    row.batch.set_status(status);
}

/// The oldest one of the owner with the fewest at work, if there is room for it.
fn next_of(
    running: &HashMap<String, Running>,
    waiting: &[Unfinished],
    at_once: usize,
) -> Option<usize> {
    let with_turn = || running.values().filter(|one| one.has_turn);
    let at_work = |owner: &str| with_turn().filter(|one| one.owner == owner).count();
    let next = (0..waiting.len()).min_by_key(|place| (at_work(&waiting[*place].owner), *place))?;
    let room = match at_work(&waiting[next].owner) {
        0 => at_once + MOST_OWNERS,
        _ => at_once,
    };
    (with_turn().count() < room).then_some(next)
}
