//! A client's connection: a place among all of them, and request after request on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tidegate_http::RequestId;
use tidegate_http1::{Version, asked_path};
use tokio::sync::SemaphorePermit;

use super::client::Client;
use super::head::Terms;
use super::reply::Reply;
use super::request::NoRequest;
use super::{Frontend, Gone};

/// How long a new connection waits for one that is closed in its favour.
const MAKING_ROOM: Duration = Duration::from_millis(500);

/// What is left of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Reusable,
    /// Nothing more is read; what was said may still be on its way.
    Ending,
    /// The client is gone.
    Broken,
}

impl Frontend {
    /// A place among the connections, if need be that of the one that is idle for the longest time.
    async fn admit_connection(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.connections.try_acquire() {
            return Some(permit);
        }
        self.heads.make_room();
        let room = tokio::time::timeout(MAKING_ROOM, self.connections.acquire());
        room.await.ok()?.ok()
    }

    /// Answers request after request; what is left of the connection.
    async fn converse(&self, client: &mut Client) -> Connection {
        loop {
            let request = match self.heads.read(client).await {
                Ok(request) => request,
                Err(NoRequest::Closed) => return Connection::Broken,
                Err(reason) => return self.refuse_head(client, reason).await,
            };
            // Boxed, so that an idle connection is as small as it can be.
            let connection = Box::pin(self.serve(client, request)).await;
            if connection != Connection::Reusable {
                return connection;
            }
        }
    }

    /// Answers what cannot be read, so that its sender learns why.
    async fn refuse_head(&self, client: &mut Client, reason: NoRequest) -> Connection {
        let reply = match reason {
            NoRequest::Closed => return Connection::Broken,
            NoRequest::Faulty(fault) => Reply::faulty(fault),
            NoRequest::TooSlow(limit) => Reply::header_too_slow(limit),
            NoRequest::TooMany => Reply::too_many_headers(),
        };
        let terms = Terms {
            version: Version::Http11,
            head_only: false,
            persistent: false,
            origin: None,
            id: RequestId::random(),
        };
        let (status, answer) = reply.render(asked_path(&client.inbound), &terms);
        self.answers.count(self.answers.other(), status);
        self.dispatcher
            .note_unqueued(Duration::ZERO, status, &terms.id);
        match self.write(client, &answer).await {
            Ok(()) => Connection::Ending,
            Err(Gone) => Connection::Broken,
        }
    }
}

#[async_trait]
impl ServerApp for Frontend {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _connection = self.admit_connection().await?;
        let mut client = Client::new(stream);
        if self.converse(&mut client).await == Connection::Ending {
            Box::pin(client.close()).await;
        }
        None
    }
}
