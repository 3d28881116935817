//! Traces: which spans a request had in which daemon, for a collector of OpenTelemetry's.
//!
//! They are off unless the standard environment variables name a collector
//! (`OTEL_EXPORTER_OTLP_ENDPOINT`). While they are off a span is nothing: no call here allocates,
//! reads a clock or locks. While they are on, no caller ever waits: spans go into a bounded queue, a
//! thread of its own sends them, and what does not fit or cannot be sent is dropped and counted.

mod client;
mod export;
mod headers;
mod settings;
mod span;

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use self::client::CollectorClient;
use self::export::Queue;
pub use self::headers::{Parent, TRACE_PARENT, TRACE_STATE, TraceHeaders};
use self::settings::Settings;
pub use self::settings::{Mistake, SettingsError};
pub use self::span::{Kind, Span};

/// How long the end of a process waits for its last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Keeps traces going; its end sends the last spans.
#[must_use]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Why traces cannot be sent although they are asked for.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("traces cannot be sent to the collector: {0}")]
    Exporter(String),
    #[error("the thread that sends traces cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Begins traces of the daemon with this name if the environment asks for them. Called once.
pub fn start(daemon: &'static str) -> Result<Telemetry, TelemetryError> {
    let Some(settings) = Settings::of_environment()? else {
        return Ok(Telemetry(None));
    };
    let client =
        CollectorClient::new().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    // Where all daemons of a machine share one environment, they share its service name as well.
    let resource = Resource::builder().with_attribute(KeyValue::new("tidegate.daemon", daemon));
    let resource = match settings.is_named {
        true => resource,
        false => resource.with_service_name(daemon),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_span_processor(Queue::start(exporter, &settings)?)
        .build();
    // A second start would be a mistake of the caller's, and changes nothing.
    let _ = TRACER.set(provider.tracer("tidegate"));
    tracing::info!(collector = settings.endpoint, "sending traces");
    Ok(Telemetry(Some(provider)))
}

/// Whether spans are made.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

impl Telemetry {
    /// Sends the last spans, for a moment at most. For processes that end without dropping it.
    pub fn finish(&mut self) {
        if let Some(provider) = self.0.take() {
            // What could not be sent was counted.
            let _ = provider.shutdown_with_timeout(LAST_SPANS);
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.finish();
    }
}
