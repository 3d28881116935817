//! One try: a request to one worker, up to the first byte of its answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, StatusCode, Version};
use pingora_core::connectors::http::v1::Connector;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate_protocol::{PROXY_HEADER, REFUSED_FULL, REFUSED_HEADER, TIMEOUT_HEADER};
use tidegate_queue::AttemptError;

/// The only headers of a client that reach a worker.
const PASSED_ON: [HeaderName; 5] = [
    ACCEPT,
    CONTENT_TYPE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// A longer value of one of them is left out, so that waiting requests stay as small as the line
/// counts them.
const HEADER_BYTES: usize = 1024;

/// The headers that belong to one connection and end here.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Most of a refusal's body that is read to keep its connection.
const REFUSAL_BYTES: usize = 64 << 10;

/// Connects to workers and speaks to them in this proxy's name.
pub struct Forwarder {
    connector: Connector,
    proxy: String,
    authorization: String,
    connect_timeout: Duration,
    unreachable: Duration,
    answer_gap: Duration,
    idle: Duration,
}

/// A request as every worker gets it.
pub struct Outgoing {
    header: RequestHeader,
    body: Bytes,
}

/// An answer of which the header has been read.
pub struct Answer {
    session: HttpSession,
    peer: HttpPeer,
}

impl Outgoing {
    /// Takes over what is meant for the worker and nothing else.
    pub fn new(client: &RequestHeader, body: Bytes) -> pingora_core::Result<Self> {
        let target = client.uri.path().as_bytes();
        let mut header = RequestHeader::build(client.method.clone(), target, Some(12))?;
        for name in PASSED_ON {
            let value = client.headers.get(&name);
            if let Some(value) = value.filter(|value| value.len() <= HEADER_BYTES) {
                header.insert_header(name, value)?;
            }
        }
        header.insert_header(CONTENT_LENGTH, body.len())?;
        Ok(Outgoing { header, body })
    }

    pub fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

impl Forwarder {
    /// `token` is the worker token that this proxy shows.
    pub fn new(proxy: &str, token: &str, rules: &crate::config::WorkerRules) -> Self {
        Forwarder {
            connector: Connector::new(None),
            proxy: proxy.to_owned(),
            authorization: format!("Bearer {token}"),
            connect_timeout: rules.connect_timeout.into(),
            unreachable: rules.unreachable.into(),
            answer_gap: rules.answer_gap.into(),
            idle: rules.idle.into(),
        }
    }

    /// Sends the request to a worker and reads the header of its answer. May be dropped at any
    /// point: the worker then sees its client leave.
    pub async fn ask(
        &self,
        worker: SocketAddr,
        request: &Outgoing,
        left: Duration,
    ) -> Result<Answer, AttemptError> {
        let peer = self.peer(worker);
        let mut session = self.exchange(&peer, worker, request, left).await?;
        session.read_timeout = Some(self.answer_gap);
        match refusal(&session) {
            Some(attempt_error) => {
                self.settle(session, &peer).await;
                Err(attempt_error)
            }
            None => Ok(Answer { session, peer }),
        }
    }

    /// Keeps the connection of an answer that was read to its end.
    pub async fn release(&self, answer: Answer) {
        let idle = Some(self.idle);
        self.connector
            .release_http_session(answer.session, &answer.peer, idle)
            .await;
    }

    /// Sends the request and reads the header of the answer.
    ///
    /// An idle connection may have been closed by the worker just now: one on which no answer
    /// begins is replaced by a new one. If that cannot be had either, the worker has died, and
    /// perhaps of this request.
    async fn exchange(
        &self,
        peer: &HttpPeer,
        worker: SocketAddr,
        request: &Outgoing,
        left: Duration,
    ) -> Result<HttpSession, AttemptError> {
        let header = self
            .header(worker, request, left)
            .map_err(|_| AttemptError::Died)?;
        let mut was_sent = false;
        loop {
            let opened = self.connector.get_http_session(peer).await;
            let (mut session, reused) = opened.map_err(|_| match was_sent {
                true => AttemptError::Died,
                false => AttemptError::Unreachable,
            })?;
            // A worker that refuses a large body may answer before it has read it all.
            let written = write(&mut session, header.clone(), &request.body).await;
            match read_header(&mut session).await {
                Ok(()) => return Ok(session),
                Err(_) if reused => was_sent |= written.is_ok(),
                Err(_) => return Err(AttemptError::Died),
            }
        }
    }

    fn header(
        &self,
        worker: SocketAddr,
        request: &Outgoing,
        left: Duration,
    ) -> pingora_core::Result<RequestHeader> {
        let mut header = request.header.clone();
        header.insert_header(HOST, worker.to_string())?;
        header.insert_header(AUTHORIZATION, &self.authorization)?;
        header.insert_header(PROXY_HEADER, &self.proxy)?;
        header.insert_header(TIMEOUT_HEADER, left.as_millis() as u64)?;
        Ok(header)
    }

    fn peer(&self, worker: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(worker, false, String::new());
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.total_connection_timeout = Some(self.connect_timeout);
        peer.options.idle_timeout = Some(self.idle);
        // Probes while nothing is on its way, the user timeout while something is.
        peer.options.tcp_keepalive = Some(TcpKeepalive {
            idle: self.unreachable / 2,
            interval: self.unreachable / 4,
            count: 2,
            user_timeout: self.unreachable,
        });
        peer
    }

    /// Reads a refusal to its end so that its connection can be used again.
    async fn settle(&self, mut session: HttpSession, peer: &HttpPeer) {
        let mut read = 0;
        while let Ok(Some(piece)) = session.read_body_bytes().await {
            read += piece.len();
            if read > REFUSAL_BYTES {
                return;
            }
        }
        if session.is_body_done() {
            let idle = Some(self.idle);
            self.connector
                .release_http_session(session, peer, idle)
                .await;
        }
    }
}

impl Answer {
    /// The header as a client of this version is to see it.
    pub fn header(&self, client: Version) -> Option<ResponseHeader> {
        let mut header = self.session.resp_header()?.clone();
        for name in HOP_BY_HOP {
            header.remove_header(name);
        }
        let unframed = !header.headers.contains_key(CONTENT_LENGTH) && has_body(header.status);
        if unframed && client == Version::HTTP_11 {
            header.insert_header("transfer-encoding", "chunked").ok()?;
        }
        Some(header)
    }

    /// The next piece of the body, and whether it is the last; `None` at the end.
    pub async fn piece(&mut self) -> pingora_core::Result<Option<(Bytes, bool)>> {
        let piece = self.session.read_body_bytes().await?;
        Ok(piece.map(|bytes| (bytes, self.session.is_body_done())))
    }
}

fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// An answer that is not for the client: the worker did not begin, or does not know this proxy.
fn refusal(session: &HttpSession) -> Option<AttemptError> {
    if session.get_status() == Some(StatusCode::UNAUTHORIZED) {
        tracing::error!("a worker does not accept this proxy's token");
        return Some(AttemptError::NotReady);
    }
    let reason = session.get_header(REFUSED_HEADER)?;
    Some(match reason.as_bytes() == REFUSED_FULL.as_bytes() {
        true => AttemptError::Full,
        false => AttemptError::NotReady,
    })
}

/// Reads the header of the answer, after those that only say that it is on its way.
async fn read_header(session: &mut HttpSession) -> pingora_core::Result<()> {
    loop {
        session.read_response().await?;
        if session
            .get_status()
            .is_some_and(|status| !status.is_informational())
        {
            return Ok(());
        }
    }
}

async fn write(
    session: &mut HttpSession,
    header: RequestHeader,
    body: &Bytes,
) -> pingora_core::Result<()> {
    session.write_request_header(Box::new(header)).await?;
    if !body.is_empty() {
        session.write_body(body).await?;
    }
    session.finish_body().await?;
    Ok(())
}
