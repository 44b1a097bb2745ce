//! `git http-backend` as a CGI program, by RFC 3875. Bodies are streamed both ways.

use std::io;
use std::path::Path;
use std::process::Stdio;

use async_stream::try_stream;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio_util::io::ReaderStream;

use crate::git;
use crate::loopback::streamed;

/// Answers a request for `path`, as seen from the folder of the repositories.
pub(super) async fn answer(
    root: &Path,
    path: &str,
    request: &request::Parts,
    body: Body,
) -> io::Result<Response<Body>> {
    let mut child = command(root, path, request)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let input = child.stdin.take().expect("it is piped");
    let output = child.stdout.take().expect("it is piped");
    tokio::spawn(feed(body, input));
    let mut output = BufReader::new(output);
    let (status, headers) = read_headers(&mut output).await?;
    let mut pieces = ReaderStream::new(output);
    let body = try_stream! {
        while let Some(piece) = pieces.next().await {
            yield piece?;
        }
        // Also keeps the child alive for as long as its output is wanted.
        child.wait().await?;
    };
    let mut response = Response::new(streamed(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn command(root: &Path, path: &str, request: &request::Parts) -> Command {
    let mut command = Command::new("git");
    command.arg("http-backend").envs(git::ISOLATION);
    for name in git::ASTRAY {
        command.env_remove(name);
    }
    command
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("REQUEST_METHOD", request.method.as_str())
        .env("QUERY_STRING", request.uri.query().unwrap_or_default())
        .env("REMOTE_ADDR", "127.0.0.1");
    for (variable, header) in [
        ("CONTENT_TYPE", "content-type"),
        ("CONTENT_LENGTH", "content-length"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        match request.headers.get(header).and_then(|value| value.to_str().ok()) {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    command
}

async fn feed(body: Body, mut input: ChildStdin) {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if input.write_all(&piece).await.is_err() {
            // The program has read all that it wants.
            return;
        }
    }
}

async fn read_headers(
    output: &mut BufReader<impl AsyncRead + Unpin>,
) -> io::Result<(StatusCode, HeaderMap)> {
    let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
    let mut line = String::new();
    loop {
        line.clear();
        if output.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("git http-backend ended before its answer"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok((status, headers));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            status = code.parse().map_err(io::Error::other)?;
        } else {
            let name = HeaderName::try_from(name).map_err(io::Error::other)?;
            headers.append(name, HeaderValue::try_from(value).map_err(io::Error::other)?);
        }
    }
}
