//! A collector of traces of the test's own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually;

/// Takes spans by OTLP over HTTP until it is dropped.
pub struct Collector {
    pub address: SocketAddr,
    spans: Arc<Mutex<Vec<Received>>>,
    server: JoinHandle<()>,
}

/// A span, and the daemon that it is of.
#[derive(Clone, Debug)]
pub struct Received {
    pub daemon: String,
    pub service: String,
    pub span: Span,
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let spans: Arc<Mutex<Vec<Received>>> = Arc::default();
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&spans));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Collector {
            address,
            spans,
            server,
        }
    }

    /// What a daemon is told so that its spans come here soon.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&format!("http://{}", self.address))
    }

    /// What has come of a trace, by its id in hexadecimal digits.
    pub fn trace(&self, id: &str) -> Vec<Received> {
        let is_of = |received: &Received| received.trace() == id;
        let mut spans = self.all();
        spans.retain(is_of);
        spans
    }

    pub fn all(&self) -> Vec<Received> {
        self.spans.lock().expect("nobody panics").clone()
    }

    /// Waits until `count` spans of a trace have come.
    pub async fn whole_trace(&self, id: &str, count: usize) -> Vec<Received> {
        eventually(&format!("{count} spans of {id}"), async || {
            let spans = self.trace(id);
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a daemon is told so that its spans go to a collector soon.
pub fn environment(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
    ]
}

async fn take(State(spans): State<Arc<Mutex<Vec<Received>>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut spans = spans.lock().expect("nobody panics");
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default().attributes;
        let named = |name: &str| text(&resource, name).unwrap_or_default();
        let scopes = of_resource.scope_spans.into_iter();
        spans.extend(scopes.flat_map(|scope| scope.spans).map(|span| Received {
            daemon: named("tidegate.daemon"),
            service: named("service.name"),
            span,
        }));
    }
    StatusCode::OK
}

impl Received {
    /// The id of its trace, in hexadecimal digits.
    pub fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The span that it is a part of; empty for the first of a trace.
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub fn text(&self, attribute: &str) -> Option<String> {
        text(&self.span.attributes, attribute)
    }

    pub fn number(&self, attribute: &str) -> Option<i64> {
        match value(&self.span.attributes, attribute)? {
            Value::IntValue(number) => Some(*number),
            _ => None,
        }
    }
}

fn value<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    let AnyValue { value } = found.value.as_ref()?;
    value.as_ref()
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    match value(attributes, name)? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
