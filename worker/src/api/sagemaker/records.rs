//! Bodies of many records, as Batch Transform sends them with `MultiRecord`: a line of the answer for
//! each, in their order. A record that is refused refuses the whole body, and is named.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::json;
use serde_json::value::RawValue;

use super::{ApiError, Container, Fault};
use crate::models::Task;

/// Records that are computed at once.
const AT_ONCE: usize = 8;

/// Texts of a CSV that are computed together.
const TOGETHER: usize = 32;

/// Why there is no answer.
enum Refused {
    Here(ApiError),
    /// By the route of a record.
    There(Response),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Refused::Here(error)
    }
}

/// Each line is the JSON body of a request.
pub async fn json_lines(
    container: &Container,
    parts: &Parts,
    body: &[u8],
) -> Result<Response, ApiError> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let lines: Vec<(usize, Vec<u8>)> = lines
        .map(|(number, line)| (number, line.trim_ascii().to_vec()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let asked = lines.into_iter().map(|(number, line)| async move {
        let answer = container.ask(parts, &line).await;
        let answer = answer.map_err(|error| named(number, error))?;
        read(number, answer).await
    });
    gather(asked).await
}

/// Each record is a text.
pub async fn csv(container: &Container, parts: &Parts, body: &[u8]) -> Result<Response, ApiError> {
    let texts = texts(body)?;
    let is_classifier = match &container.app.served()?.card.task {
        Task::Embedding { .. } => false,
        Task::Classification { .. } => true,
        Task::Reranking { .. } => {
            let message = "text/csv is for models that embed or classify; this one ranks";
            return Err(ApiError::new(Fault::WrongTask, message));
        }
    };
    let together = TOGETHER.min(container.app.limits.max_texts.get());
    let chunks = texts.chunks(together).map(<[String]>::to_vec);
    let chunks: Vec<(usize, Vec<String>)> = (1..).step_by(together).zip(chunks).collect();
    let asked = chunks.into_iter().map(|(first, texts)| async move {
        // A classifier takes two texts side by side as a pair.
        let inputs = match is_classifier {
            true => json!(texts.iter().map(|text| [text]).collect::<Vec<_>>()),
            false => json!(texts),
        };
        let body = json!({ "inputs": inputs }).to_string().into_bytes();
        let answer = container.pass(parts, "/", body).await;
        let answer = read(first, answer).await?;
        let results: Result<Vec<&RawValue>, _> = serde_json::from_slice(&answer);
        let results =
            results.map_err(|_| ApiError::new(Fault::Internal, "An answer is no list"))?;
        let results: Vec<&str> = results.into_iter().map(RawValue::get).collect();
        Ok::<_, Refused>(results.join("\n").into_bytes())
    });
    gather(asked).await
}

/// All answers, a line each, or the first refusal.
async fn gather<F>(asked: impl Iterator<Item = F>) -> Result<Response, ApiError>
where
    F: Future<Output = Result<Vec<u8>, Refused>>,
{
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let mut lines = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(line) => lines.extend(line.into_iter().chain([b'\n'])),
            Err(Refused::Here(error)) => return Err(error),
            Err(Refused::There(response)) => return Ok(response),
        }
    }
    let mut response = Response::new(Body::from(lines));
    let kind = HeaderValue::from_static("application/jsonlines");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The body of a record's answer, which is one line.
async fn read(number: usize, answer: Response) -> Result<Vec<u8>, Refused> {
    let status = answer.status();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Refused::There(answer));
    }
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    let body = body.map_err(|_| ApiError::new(Fault::Internal, "An answer broke off"))?;
    if status == StatusCode::OK {
        return Ok(body.into());
    }
    let words = String::from_utf8_lossy(&body).into_owned();
    Err(named(number, ApiError::new(Fault::Invalid, words)).into())
}

fn named(number: usize, error: ApiError) -> ApiError {
    ApiError {
        message: format!("Record {number}: {}", error.message),
        ..error
    }
}

/// The one column of a CSV (RFC 4180).
fn texts(body: &[u8]) -> Result<Vec<String>, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::new(Fault::Unreadable, "The CSV is not UTF-8"))?;
    let (mut texts, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let number = texts.len() + 1;
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted).ok_or_else(|| {
                named(
                    number,
                    ApiError::new(Fault::Unreadable, "a quote is not closed"),
                )
            })?,
            None => {
                let end = rest.find(['\n', ',']).unwrap_or(rest.len());
                (rest[..end].trim_end_matches('\r').to_owned(), &rest[end..])
            }
        };
        let behind = behind.strip_prefix('\r').unwrap_or(behind);
        rest = match behind.strip_prefix('\n') {
            Some(next) => next,
            None if behind.is_empty() => behind,
            None => {
                let message = "expected one column, a text; quote a text with a comma";
                return Err(named(number, ApiError::new(Fault::Unreadable, message)));
            }
        };
        texts.push(field);
    }
    match texts.is_empty() {
        true => Err(ApiError::new(Fault::Empty, "The CSV has no records")),
        false => Ok(texts),
    }
}

/// A quoted field without its quotes, and what is behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (before, behind) = rest.split_once('"')?;
        field.push_str(before);
        match behind.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_is_one_text_a_record() {
        let read = |text: &str| texts(text.as_bytes()).map_err(|error| error.message);
        let list = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(read("a\nb c\r\n"), list(&["a", "b c"]));
        assert_eq!(
            read("\"a, \"\"b\"\"\nc\"\n\nd"),
            list(&["a, \"b\"\nc", "", "d"])
        );
        for (wrong, says) in [
            ("", "no records"),
            ("a,b", "Record 1: expected one column"),
            ("a\n\"b\",c", "Record 2: expected one column"),
            ("\"a", "Record 1: a quote is not closed"),
        ] {
            let said = read(wrong).expect_err(wrong);
            assert!(said.contains(says), "{wrong}: {said}");
        }
    }
}
