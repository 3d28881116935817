//! Reading a request's head, within the limits of each and of all that are unfinished.

use std::time::Duration;

use http::Method;
use tidegate_http1::{
    BodyDecoder, Expectation, Fault, Fields, Framing, Limits, RequestHead, RequestReader, Version,
};
use tokio::sync::Notify;

use super::client::Client;
use crate::allowance::Allowance;
use crate::config::ClientRules;

/// What all connections share while they read heads.
pub struct HeadReader {
    limits: Limits,
    idle: Duration,
    timeout: Duration,
    unfinished: Allowance,
    /// Wakes the connection that has been idle for the longest time, to make room.
    room: Notify,
}

/// A request whose head was read.
pub struct Request {
    head: RequestHead,
    bytes: Vec<u8>,
    /// Finds the end of the body, as far as that was read.
    pub body: BodyDecoder,
    /// Whether the client waits for a word before it sends the body.
    pub owes_continue: bool,
}

/// Why there is no request.
pub enum NoRequest {
    /// The connection is done with.
    Closed,
    Faulty(Fault),
    /// It did not arrive in time.
    TooSlow(Duration),
    /// All unfinished heads together are too large.
    TooMany,
}

impl HeadReader {
    pub fn new(rules: &ClientRules) -> Self {
        HeadReader {
            limits: Limits {
                bytes: rules.header_bytes,
                fields: rules.header_fields,
            },
            idle: *rules.idle,
            timeout: *rules.header_timeout,
            unfinished: Allowance::new(rules.all_headers_bytes),
            room: Notify::new(),
        }
    }

    /// Closes the connection that has been idle for the longest time, if one is.
    pub fn make_room(&self) {
        self.room.notify_one();
    }

    /// Waits for the next request on a connection.
    pub async fn read(&self, client: &mut Client) -> Result<Request, NoRequest> {
        if client.inbound.is_empty() {
            self.first_bytes(client).await?;
        }
        let mut reader = RequestReader::default();
        if let Some(request) = self.take(client, &mut reader)? {
            return Ok(request);
        }
        let rest = self.read_rest(client, &mut reader);
        let read = tokio::time::timeout(self.timeout, rest).await;
        read.unwrap_or(Err(NoRequest::TooSlow(self.timeout)))
    }

    async fn first_bytes(&self, client: &mut Client) -> Result<(), NoRequest> {
        // An idle connection holds nothing.
        client.inbound = Vec::new();
        let first = async {
            tokio::select! {
                biased;
                read = client.fill() => read.is_ok_and(|read| read > 0),
                () = self.room.notified() => false,
            }
        };
        match tokio::time::timeout(self.idle, first).await {
            Ok(true) => Ok(()),
            _ => Err(NoRequest::Closed),
        }
    }

    async fn read_rest(
        &self,
        client: &mut Client,
        reader: &mut RequestReader,
    ) -> Result<Request, NoRequest> {
        let mut share = self.unfinished.share();
        loop {
            if !share.widen(client.inbound.len()) {
                return Err(NoRequest::TooMany);
            }
            match client.fill().await {
                Ok(read) if read > 0 => {}
                _ => return Err(NoRequest::Closed),
            }
            if let Some(request) = self.take(client, reader)? {
                return Ok(request);
            }
        }
    }

    /// Takes the head from what was read, if it is whole.
    fn take(
        &self,
        client: &mut Client,
        reader: &mut RequestReader,
    ) -> Result<Option<Request>, NoRequest> {
        let read = reader.read(&client.inbound, &self.limits);
        let Some(head) = read.map_err(NoRequest::Faulty)? else {
            return Ok(None);
        };
        let rest = client.inbound.split_off(head.len());
        let bytes = std::mem::replace(&mut client.inbound, rest);
        let body = BodyDecoder::new(head.framing);
        Ok(Some(Request {
            owes_continue: head.expectation == Expectation::Continue && !body.is_done(),
            body,
            head,
            bytes,
        }))
    }
}

impl Request {
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// As it was sent, without query.
    pub fn path(&self) -> &str {
        self.head.path(&self.bytes)
    }

    /// As it was sent, with its query.
    pub fn path_and_query(&self) -> &str {
        self.head.path_and_query(&self.bytes)
    }

    /// How the end of the body is found.
    pub fn framing(&self) -> Framing {
        self.head.framing
    }

    pub fn version(&self) -> Version {
        self.head.version
    }

    pub fn persistent(&self) -> bool {
        self.head.persistent
    }

    pub fn fields(&self) -> Fields<'_> {
        self.head.fields(&self.bytes)
    }

    /// The first value of a field as text; `name` is in lower case.
    pub fn text(&self, name: &'static str) -> Option<&str> {
        std::str::from_utf8(self.fields().get(name)?).ok()
    }
}
