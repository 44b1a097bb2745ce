//! Reads request bodies, bounded in size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use protocol::ErrorCode;
use protocol::request::{MAX_BODY_BYTES, MAX_WIRE_BYTES};

use crate::error::ApiError;

/// A megabyte arrives in less even over a slow line; who takes longer holds a connection hostage.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a caller's whole body.
///
/// # Errors
/// `body_too_large` over 1 MiB; `malformed` when it breaks off or takes over 30 s.
pub async fn read(body: Body) -> Result<Bytes, ApiError> {
    read_within(body, MAX_BODY_BYTES).await
}

/// Reads the whole body of a request that another service passes on; what that has let in is not too
/// large here.
///
/// # Errors
/// `body_too_large` over 1 MiB and 64 KiB; `malformed` as in [`read`].
pub async fn read_passed_on(body: Body) -> Result<Bytes, ApiError> {
    read_within(body, MAX_WIRE_BYTES).await
}

async fn read_within(body: Body, max: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let reading = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| {
                ApiError::new(ErrorCode::Malformed, "the body broke off before its end")
            })?;
            if bytes.len() + chunk.len() > max {
                let message = format!("the body is larger than {} KiB", max / 1024);
                return Err(ApiError::new(ErrorCode::BodyTooLarge, message));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorCode::Malformed, "the body took longer than 30 s to arrive"))
    })
}
