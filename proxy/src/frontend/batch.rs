//! Passes requests on to the batch service as they arrive, without a queue and without a worker.
//!
//! Path, query and fields reach the service as the client sent them, because some clients sign
//! them. No more than a piece of a body is held here, however large the file is.

use std::io::{self, Write};
use std::net::SocketAddr;

use http::Method;
use tidegate_http::RequestId;
use tidegate_http1::{Fault, Framing, ResponseHead, write_chunk};
use tidegate_protocol::REQUEST_ID_HEADER;

use super::body::{CONTINUE, NoBody, take};
use super::client::Client;
use super::relay::{Cut, Source};
use super::reply::Reply;
use super::request::Request;
use super::trace::Attempt;
use super::{Exchange, Frontend, Gone};
use crate::backend::{Answer, Passage};
use crate::config::BatchUrl;

/// What ends with the client's connection (RFC 9110, section 7.6.1), and what is said anew.
const NOT_PASSED_ON: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    REQUEST_ID_HEADER,
];

/// Why there is no answer of the service.
enum Stop {
    Gone,
    Refused(Reply),
    /// The body is not framed as it should be: where it ends is not known.
    Faulty(Fault),
}

impl From<NoBody> for Stop {
    fn from(reason: NoBody) -> Self {
        match reason {
            NoBody::Gone => Stop::Gone,
            NoBody::Refused(reply) | NoBody::Shed(reply) => Stop::Refused(reply),
            NoBody::Faulty(fault) => Stop::Faulty(fault),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Refused(Reply::batch_broke_off())
    }
}

impl Frontend {
    pub(super) async fn serve_batch(
        &self,
        exchange: &mut Exchange<'_>,
        url: &BatchUrl,
    ) -> Result<(), Gone> {
        let answer = match self.forward(exchange, url).await {
            Ok(answer) => answer,
            Err(Stop::Gone) => return Err(Gone),
            Err(Stop::Refused(reply)) => return self.refuse(exchange, reply).await,
            Err(Stop::Faulty(fault)) => {
                exchange.terms.persistent = false;
                return self.refuse(exchange, Reply::faulty(fault)).await;
            }
        };
        let status = answer.status();
        let source = Source {
            answer,
            place: None,
            attempt: Attempt::none(),
        };
        match self.pass_on(exchange, source).await {
            Err(Cut::NotBegun) => self.refuse(exchange, Reply::batch_broke_off()).await,
            passed => {
                let took = self.dispatcher.now().saturating_sub(exchange.arrived);
                self.dispatcher
                    .note_unqueued(took, status, &exchange.terms.id);
                passed.map_err(|_| Gone)
            }
        }
    }

    /// Sends the request, up to the head of its answer.
    async fn forward(&self, exchange: &mut Exchange<'_>, url: &BatchUrl) -> Result<Answer, Stop> {
        let unreachable = || Stop::Refused(Reply::no_batch_service());
        let address = resolve(url).await.ok_or_else(unreachable)?;
        let head = head(&exchange.request, url, &exchange.terms.id);
        let passage = self.backend.pass(address, head).await;
        let mut passage = passage.ok_or_else(unreachable)?;
        let (client, request) = (&mut *exchange.client, &mut exchange.request);
        let limit = *self.config.batch.timeout;
        loop {
            let step = tokio::time::timeout(limit, step(client, request, &mut passage)).await;
            match step {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(head))) => {
                    return Ok(passage.into_answer(head, request.body.is_done()));
                }
                Ok(Err(stop)) => return Err(stop),
                Err(_) => return Err(Stop::Refused(Reply::batch_timeout(limit))),
            }
        }
    }
}

/// Passes on one piece of the body; at its end waits for the answer.
async fn step(
    client: &mut Client,
    request: &mut Request,
    passage: &mut Passage,
) -> Result<Option<ResponseHead>, Stop> {
    if let Some(early) = passage.send().await? {
        return Ok(Some(early));
    }
    if request.body.is_done() {
        return tokio::select! {
            head = passage.answer() => Ok(Some(head?)),
            () = client.has_left() => Err(Stop::Gone),
        };
    }
    if std::mem::take(&mut request.owes_continue) && client.inbound.is_empty() {
        client.write(CONTINUE).await.map_err(|_| Stop::Gone)?;
    }
    tokio::select! {
        biased;
        piece = piece(client, request) => passage.push(piece?),
        head = passage.answer() => return Ok(Some(head?)),
    }
    Ok(None)
}

/// The next piece of the body, framed for the service. May be dropped while it waits.
async fn piece(client: &mut Client, request: &mut Request) -> Result<Vec<u8>, Stop> {
    let mut data = Vec::new();
    loop {
        take(client, request, &mut data)?;
        if !data.is_empty() || request.body.is_done() {
            break;
        }
        match client.fill().await {
            Ok(read) if read > 0 => {}
            _ => return Err(Stop::Gone),
        }
    }
    if request.framing() != Framing::Chunked {
        return Ok(data);
    }
    let mut piece = Vec::with_capacity(data.len() + 32);
    if !data.is_empty() {
        write_chunk(&data, &mut piece);
    }
    if request.body.is_done() {
        write_chunk(b"", &mut piece);
    }
    Ok(piece)
}

fn head(request: &Request, url: &BatchUrl, id: &RequestId) -> Vec<u8> {
    let method = match *request.method() {
        Method::HEAD => &Method::GET,
        ref method => method,
    };
    let mut head = Vec::with_capacity(1024);
    let _ = write!(head, "{method} {} HTTP/1.1\r\n", request.path_and_query());
    let _ = write!(head, "{REQUEST_ID_HEADER}: {id}\r\n");
    let fields = request.fields();
    // An older client may send none, and `Connection` does not take it away: no request goes without.
    if fields.get("host").is_none() {
        let _ = write!(head, "host: {}:{}\r\n", url.host, url.port);
    }
    for (name, value) in fields.iter() {
        let listed = |listed: &str| name.eq_ignore_ascii_case(listed.as_bytes());
        let ends_here = fields.is_of_this_hop(name) && !listed("host");
        if NOT_PASSED_ON.into_iter().any(listed) || ends_here {
            continue;
        }
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    match request.framing() {
        Framing::Length(0) if matches!(*method, Method::GET | Method::DELETE) => {}
        Framing::Length(length) => {
            let _ = write!(head, "content-length: {length}\r\n");
        }
        _ => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    head.extend_from_slice(b"\r\n");
    head
}

async fn resolve(url: &BatchUrl) -> Option<SocketAddr> {
    let mut found = tokio::net::lookup_host((url.host.as_str(), url.port))
        .await
        .ok()?;
    found.next()
}
