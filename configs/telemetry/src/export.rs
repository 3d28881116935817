//! The queue of ended spans, and the thread that sends them. Whoever ends a span never waits: where the
//! queue is full the span is dropped and counted, and so is what the collector does not take.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter};
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::{Builder, Runtime};

use crate::settings::Settings;

const SENT: &str = "tidegate_trace_spans_sent_total";
const DROPPED: &str = "tidegate_trace_spans_dropped_total";

/// What the thread is told.
enum Message {
    Span(Box<SpanData>),
    /// Before the first span: what all spans are of.
    Resource(Box<Resource>),
    /// To be answered once all that came before is sent.
    Flush(SyncSender<()>),
}

/// The way of spans out of this process.
pub struct Queue {
    messages: SyncSender<Message>,
    /// Spans for which there was no room, until the thread counts them.
    overflow: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread.
    pub fn start(exporter: impl SpanExporter + 'static, settings: &Settings) -> io::Result<Queue> {
        // One more: what all spans are of is said before the first.
        let (messages, received) = sync_channel(settings.queue + 1);
        let overflow = Arc::new(AtomicU64::new(0));
        let sender = Sender {
            exporter,
            runtime: Builder::new_current_thread().enable_all().build()?,
            overflow: Arc::clone(&overflow),
            most: settings.batch,
            delay: settings.delay,
            timeout: settings.timeout,
            batch: Vec::new(),
            is_away: false,
        };
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || sender.run(&received))?;
        Ok(Queue { messages, overflow })
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Queue")
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self
            .messages
            .try_send(Message::Span(Box::new(span)))
            .is_err()
        {
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.shutdown_with_timeout(Duration::from_secs(5))
    }

    /// Waits until what was ended is sent.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let end = Instant::now() + timeout;
        let (done, sent) = sync_channel(1);
        let mut message = Message::Flush(done);
        // The queue may be full; the thread makes room.
        while let Err(refused) = self.messages.try_send(message) {
            if Instant::now() >= end {
                return Err(OTelSdkError::Timeout(timeout));
            }
            std::thread::sleep(Duration::from_millis(5));
            message = match refused {
                std::sync::mpsc::TrySendError::Full(message) => message,
                std::sync::mpsc::TrySendError::Disconnected(_) => {
                    return Err(OTelSdkError::AlreadyShutdown);
                }
            };
        }
        let left = end.saturating_duration_since(Instant::now());
        let sent = sent.recv_timeout(left);
        sent.map_err(|_| OTelSdkError::Timeout(timeout))
    }

    fn set_resource(&mut self, resource: &Resource) {
        let resource = Box::new(resource.clone());
        // The queue is empty before the first span.
        let _ = self.messages.try_send(Message::Resource(resource));
    }
}

/// The thread's side.
struct Sender<E> {
    exporter: E,
    runtime: Runtime,
    overflow: Arc<AtomicU64>,
    most: usize,
    delay: Duration,
    timeout: Duration,
    batch: Vec<SpanData>,
    /// Whether the last batch could not be sent.
    is_away: bool,
}

impl<E: SpanExporter> Sender<E> {
    /// Until nobody can end a span any more.
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due = Instant::now() + self.delay;
        loop {
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Span(span)) => self.batch.push(*span),
                Ok(Message::Resource(resource)) => self.exporter.set_resource(&resource),
                Ok(Message::Flush(done)) => {
                    self.send();
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => due = Instant::now(),
                Err(RecvTimeoutError::Disconnected) => return self.send(),
            }
            if self.batch.len() >= self.most || due <= Instant::now() {
                self.send();
                due = Instant::now() + self.delay;
            }
        }
    }

    fn send(&mut self) {
        let dropped = self.overflow.swap(0, Ordering::Relaxed);
        let batch = std::mem::take(&mut self.batch);
        let spans = batch.len() as u64;
        let sent = match spans {
            0 => Ok(()),
            _ => self
                .runtime
                .block_on(within(self.timeout, self.exporter.export(batch))),
        };
        describe();
        match sent {
            Ok(()) => {
                counter!(SENT).increment(spans);
                counter!(DROPPED).increment(dropped);
                if spans > 0 && std::mem::take(&mut self.is_away) {
                    tracing::info!("the collector of traces takes spans again");
                }
            }
            Err(error) => {
                counter!(SENT).increment(0);
                counter!(DROPPED).increment(spans + dropped);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(
                        %error, "the collector of traces takes no spans; they are dropped"
                    );
                }
            }
        }
    }
}

/// The exporter's own limit is for its retries, and bounds no single attempt.
async fn within(limit: Duration, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
    let sent = tokio::time::timeout(limit, export).await;
    sent.unwrap_or(Err(OTelSdkError::Timeout(limit)))
}

/// Says again what the counters are, for the recorder may be younger than this thread.
fn describe() {
    describe_counter!(SENT, "spans that the collector of traces took");
    describe_counter!(
        DROPPED,
        "spans that were dropped: the collector does not take them, or not fast enough"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// Takes a batch each time it is allowed to, and says that it was given one.
    #[derive(Debug)]
    struct Slow {
        given: mpsc::Sender<()>,
        allowed: Mutex<mpsc::Receiver<()>>,
        taken: Arc<AtomicU64>,
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.given.send(());
            let allowed = self.allowed.lock().expect("nobody panics");
            let _ = allowed.recv();
            self.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn a_collector_that_hangs_holds_nobody_up_and_what_does_not_fit_is_dropped() {
        let (allow, allowed) = mpsc::channel();
        let (given, first_batch) = mpsc::channel();
        let taken = Arc::new(AtomicU64::new(0));
        let exporter = Slow {
            given,
            allowed: Mutex::new(allowed),
            taken: Arc::clone(&taken),
        };
        let settings = Settings {
            endpoint: String::new(),
            is_named: false,
            queue: 8,
            batch: 4,
            delay: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
        };
        let queue = Queue::start(exporter, &settings).expect("a thread");
        let overflow = Arc::clone(&queue.overflow);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..4 {
            drop(tracer.start("span"));
        }
        first_batch.recv().expect("the first batch is full");
        // Were one of them to wait for the collector, this would never end.
        for _ in 4..100 {
            drop(tracer.start("span"));
        }
        let dropped = overflow.load(Ordering::Relaxed);
        assert_eq!(
            dropped,
            96 - (8 + 1),
            "the queue is full, the rest is dropped"
        );
        drop(allow);
        provider.force_flush().expect("the thread works again");
        assert_eq!(taken.load(Ordering::Relaxed) + dropped, 100);
    }
}
