//! Admission, the same for every request: token, deadline, state, slot, body.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tidegate_agent::Slot;
use tidegate_protocol::api::is_identity;
use tidegate_protocol::{PROXY_HEADER, TIMEOUT_HEADER, WorkerState};

use super::app::{App, word};
use super::error::{ApiError, Fault};
use super::memory::{Share, Short};

/// A longer proxy name is nobody's.
const MAX_PROXY_NAME: usize = 256;

/// No client waits longer than this, whatever it says.
const LONGEST_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Lets pass who brings the worker token, or everyone when none is set.
pub fn authorize(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(tokens) = &app.tokens else {
        return Ok(());
    };
    let given = headers.get(header::AUTHORIZATION);
    match given.is_some_and(|given| tokens.accepts_header(given.as_bytes())) {
        true => Ok(()),
        false => Err(ApiError::unauthorized()),
    }
}

/// A body is read as it comes (RFC 9110, section 8.4).
fn uncoded(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    match codings.all(|coding| is_identity(coding.as_bytes())) {
        true => Ok(()),
        false => {
            let message = "Bodies with a Content-Encoding are not read; send it without";
            Err(ApiError::new(Fault::Coded, message))
        }
    }
}

/// When the client stops waiting, if it says so.
fn deadline(headers: &HeaderMap, arrived: Instant) -> Result<Option<Instant>, ApiError> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(None);
    };
    let ms: Option<u64> = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match ms.map(Duration::from_millis) {
        Some(patience) => Ok(Some(arrived + patience.min(LONGEST_PATIENCE))),
        None => {
            let message = format!("{TIMEOUT_HEADER} is not a number of milliseconds");
            Err(ApiError::new(Fault::Invalid, message))
        }
    }
}

/// A request that may be worked on, and what it holds until it is answered.
pub struct Admitted {
    pub slot: Slot,
    pub body: Bytes,
    pub deadline: Option<Instant>,
    _memory: Share,
}

/// Takes a slot for the request and reads its body. A refused body is read to its end and
/// dropped, so that its connection can be used again, unless its length alone is refused.
pub async fn admit(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    arrived: Instant,
) -> Result<Admitted, ApiError> {
    let (slot, deadline) = match check(app, headers, arrived) {
        Ok(passed) => passed,
        Err(refusal) => {
            let _ = tokio::time::timeout(
                *app.limits.body_timeout,
                discard(body, app.limits.max_body_bytes.get()),
            )
            .await;
            return Err(refusal);
        }
    };
    let stated = headers.get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
    let read = tokio::time::timeout(*app.limits.body_timeout, collect(app, body, stated));
    let (body, memory) = read.await.unwrap_or_else(|_| {
        let message = "The body did not arrive in time";
        Err(ApiError::new(Fault::BodyTooSlow, message))
    })?;
    Ok(Admitted {
        slot,
        body,
        deadline,
        _memory: memory,
    })
}

/// Reads a body whole, as far as memory is shared out for it.
async fn collect(
    app: &App,
    mut body: Body,
    stated: Option<usize>,
) -> Result<(Bytes, Share), ApiError> {
    let limit = app.limits.max_body_bytes.get().min(app.bodies.bytes());
    let short = |short| match short {
        Short::Ever => ApiError::too_large(limit),
        Short::Now => ApiError::full(app.admission.capacity()),
    };
    let stated = stated.unwrap_or(0);
    if stated > limit {
        return Err(ApiError::too_large(limit));
    }
    let mut memory = match app.bodies.take(stated) {
        Ok(memory) => memory,
        Err(error) => {
            discard(body, limit).await;
            return Err(short(error));
        }
    };
    let mut whole = Vec::with_capacity(stated);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::new(Fault::Unreadable, "The body broke off"))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        let length = whole.len() + data.len();
        if length > limit {
            return Err(ApiError::too_large(limit));
        }
        memory.grow(&app.bodies, length).map_err(short)?;
        whole.extend_from_slice(data);
    }
    Ok((whole.into(), memory))
}

/// What the request's head is asked: token, deadline, then a slot.
fn check(
    app: &App,
    headers: &HeaderMap,
    arrived: Instant,
) -> Result<(Slot, Option<Instant>), ApiError> {
    authorize(app, headers)?;
    uncoded(headers)?;
    let deadline = deadline(headers, arrived)?;
    Ok((take_slot(app, headers)?, deadline))
}

fn take_slot(app: &App, headers: &HeaderMap) -> Result<Slot, ApiError> {
    ready(app)?;
    let proxy = headers
        .get(PROXY_HEADER)
        .and_then(|value| value.to_str().ok());
    let proxy = proxy
        .filter(|name| name.len() <= MAX_PROXY_NAME)
        .unwrap_or_default();
    let slot = app.admission.take(proxy);
    let slot = slot.map_err(|_| ApiError::full(app.admission.capacity()))?;
    // Whoever waits for the slots to be empty has said before that the worker stops: either this
    // slot was seen, or this sees that.
    ready(app)?;
    Ok(slot)
}

fn ready(app: &App) -> Result<(), ApiError> {
    match app.life.state() {
        WorkerState::Ready => Ok(()),
        state => Err(ApiError::not_ready(word(state))),
    }
}

async fn discard(body: Body, limit: usize) {
    let mut body = body;
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > limit {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline_of(value: &'static str) -> Result<Option<Duration>, ApiError> {
        let now = Instant::now();
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, header::HeaderValue::from_static(value));
        Ok(deadline(&headers, now)?.map(|end| end - now))
    }

    #[test]
    fn the_deadline_is_read_from_the_header_or_refused() {
        assert_eq!(
            deadline_of("250").expect("valid"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            deadline_of("18446744073709551615").expect("valid"),
            Some(LONGEST_PATIENCE)
        );
        assert!(deadline_of("soon").is_err() && deadline_of("-1").is_err());
    }
}
