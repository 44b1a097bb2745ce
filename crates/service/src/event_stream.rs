//! A stream of events as an HTTP answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use protocol::headers::{JOB, LAST_EVENT_ID};
use protocol::sse::{KEEP_ALIVE, RETRY_HINT};
use protocol::{ErrorCode, JobId};

use crate::error::ApiError;

/// Proxies close lines that are silent for a minute, some for half of it.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// An answer that carries `frames`, already encoded, with the retry hint before them and comments
/// in their pauses.
pub fn respond(job: JobId, frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    answer(job, lines(frames))
}

/// `frames`, already encoded, with the retry hint before them and comments in their pauses.
pub(crate) fn lines(
    frames: impl Stream<Item = Bytes> + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    async_stream::stream! {
        yield Bytes::from_static(RETRY_HINT.as_bytes());
        let mut frames = std::pin::pin!(frames);
        loop {
            match tokio::time::timeout(KEEP_ALIVE_EVERY, frames.next()).await {
                Ok(Some(bytes)) => yield bytes,
                Ok(None) => break,
                Err(_) => yield Bytes::from_static(KEEP_ALIVE.as_bytes()),
            }
        }
    }
}

/// An answer that carries these lines of a job's stream.
pub(crate) fn answer(job: JobId, lines: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(lines.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    let mut set = |name: header::HeaderName, value: &str| {
        headers.insert(name, HeaderValue::from_str(value).expect("ids and constants are ASCII"));
    };
    set(header::CONTENT_TYPE, "text/event-stream");
    set(header::CACHE_CONTROL, "no-store");
    set(header::LOCATION, &format!("/api/jobs/{job}"));
    set(header::HeaderName::from_static(JOB), &job.to_string());
    // Tells nginx and its kin not to hold events back.
    set(header::HeaderName::from_static("x-accel-buffering"), "no");
    response
}

/// Whether the caller wants to be told of the job's acceptance only (RFC 7240).
#[must_use]
pub fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|preference| preference.trim().eq_ignore_ascii_case("respond-async"))
    })
}

/// The position that a reader wants to go on after: the header, which a browser sends when it
/// reconnects, wins over the query, which it repeats then; 0 without both.
///
/// # Errors
/// `malformed` when either is not a number, is given twice, or lies after the job's last event.
pub fn position(headers: &HeaderMap, query: Option<&str>, last: u64) -> Result<u64, ApiError> {
    let mut given = headers.get_all(LAST_EVENT_ID).iter();
    let header = given.next().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    if given.next().is_some() {
        return Err(malformed("Last-Event-ID is given more than once".to_owned()));
    }
    let header = header.map(|text| number("Last-Event-ID", text, last)).transpose()?;
    let query = query.map(|text| number("after", text, last)).transpose()?;
    Ok(header.or(query).unwrap_or(0))
}

fn number(name: &str, text: &str, last: u64) -> Result<u64, ApiError> {
    let shown: String = text.chars().take(40).collect();
    // `parse` would take a plus sign as well.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message =
            format!("{name} is {shown:?}; it must be the id of an event, a number from 0");
        return Err(malformed(message));
    }
    // What does not fit is after every event.
    text.parse()
        .ok()
        .filter(|position| *position <= last)
        .ok_or_else(|| malformed(format!("{name} is {shown}, but the job's last event is {last}")))
}

fn malformed(message: String) -> ApiError {
    ApiError::new(ErrorCode::Malformed, message)
}
