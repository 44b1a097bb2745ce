//! A scripted model: the Messages API on loopback, for the real Claude Code CLI.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_stream::try_stream;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::response::{IntoResponse, Json};
use serde_json::{Value, json};

use crate::loopback::{Loopback, streamed};

mod request;
mod script;
mod wire;

pub use request::{Purpose, Request};
pub use script::{Block, Ending, Failure, Reply, Script, Turn, Usage};

/// The server, until it is dropped. It runs on threads of its own, so tests may block.
#[derive(Debug)]
pub struct Model {
    state: Arc<Stage>,
    loopback: Loopback,
}

#[derive(Debug)]
struct Stage {
    scripts: Vec<Script>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// How far each conversation is in its script. A resumed conversation goes on in it.
    positions: Positions,
}

/// By session and number of the script.
type Positions = HashMap<(String, usize), usize>;

impl Model {
    /// Starts a model that plays `script` to every conversation, each from its start.
    ///
    /// # Panics
    /// When the machine has no more ports or threads.
    #[must_use]
    pub fn start(script: Script) -> Self {
        Self::start_with([script])
    }

    /// Starts a model that plays to each conversation the first script that is for its prompt.
    ///
    /// # Panics
    /// When the machine has no more ports or threads.
    #[must_use]
    pub fn start_with(scripts: impl IntoIterator<Item = Script>) -> Self {
        let scripts = scripts.into_iter().collect();
        let state = Arc::new(Stage { scripts, seen: Mutex::default() });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        Self { state, loopback: Loopback::serve(router) }
    }

    /// For `ANTHROPIC_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.loopback.address())
    }

    /// All requests so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.seen().requests.clone()
    }

    /// The requests that took a turn of a script.
    #[must_use]
    pub fn turns(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| matches!(request.purpose, Purpose::Turn(_)));
        requests
    }

    /// What the tools answered, as the last request of the conversation tells it.
    #[must_use]
    pub fn tool_results(&self) -> Vec<(String, bool)> {
        self.turns().last().map(Request::tool_results).unwrap_or_default()
    }
}

impl Stage {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next turn of the request's conversation, and records the request.
    fn take_turn(&self, mut request: Request) -> (Turn, usize) {
        let mut seen = self.seen();
        let script = self.script(&request, &seen.positions);
        let key = (request.session().to_owned(), script.map_or(usize::MAX, |(index, _)| index));
        let next = seen.positions.entry(key).or_default();
        let position = *next;
        *next += 1;
        let turn = script.and_then(|(_, script)| script.turn(position)).cloned();
        request.purpose = Purpose::Turn(position);
        seen.requests.push(request);
        let turn = turn.unwrap_or_else(|| {
            let message = format!("the script has no turn {position}");
            Failure::new(400, "invalid_request_error", &message).into()
        });
        (turn, seen.requests.len())
    }

    fn record(&self, request: Request) -> usize {
        let mut seen = self.seen();
        seen.requests.push(request);
        seen.requests.len()
    }

    fn script(&self, request: &Request, positions: &Positions) -> Option<(usize, &Script)> {
        let texts = request.user_texts();
        let fits = |text: &&str, script: &Script| text.contains(&script.needle);
        let is_anothers = |index: &usize| {
            let mut others = positions.keys().filter(|(session, _)| session != request.session());
            others.any(|(_, script)| script == index)
        };
        let scripts = || {
            let scripts = self.scripts.iter().enumerate();
            scripts.filter(|(index, script)| !script.is_once || !is_anothers(index))
        };
        // The latest text decides, so that a resumed conversation can have a script of its own.
        texts
            .iter()
            .find_map(|text| {
                scripts().find(|(_, script)| !script.needle.is_empty() && fits(text, script))
            })
            .or_else(|| scripts().find(|(_, script)| script.needle.is_empty()))
    }
}

async fn serve(State(stage): State<Arc<Stage>>, request: HttpRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut request = Request {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers.iter().map(header).collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        purpose: Purpose::Other,
    };
    match (parts.uri.path(), parts.method) {
        ("/v1/messages", Method::POST) if request.is_aside() => {
            request.purpose = Purpose::Aside;
            let text = json!({"title": "Scripted"}).to_string();
            let reply = Reply::new([Block::Text(text)]).usage(Usage::default());
            let body = request.body.clone();
            message(reply, &body, stage.record(request))
        }
        ("/v1/messages", Method::POST) => {
            let body = request.body.clone();
            let (turn, number) = stage.take_turn(request);
            play(turn, &body, number).await
        }
        ("/v1/messages/count_tokens", Method::POST) => {
            request.purpose = Purpose::CountTokens;
            stage.record(request);
            Json(json!({"input_tokens": body.len() / 4})).into_response()
        }
        (_, Method::HEAD) => {
            stage.record(request);
            StatusCode::OK.into_response()
        }
        _ => {
            stage.record(request);
            failure(&Failure::new(404, "not_found_error", "Not Found"), 0)
        }
    }
}

async fn play(turn: Turn, body: &Value, number: usize) -> Response<Body> {
    match turn {
        Turn::Reply(reply) => message(reply, body, number),
        Turn::Failure(error) => failure(&error, number),
        Turn::Silence => std::future::pending().await,
    }
}

fn failure(failure: &Failure, number: usize) -> Response<Body> {
    let status = StatusCode::from_u16(failure.status).expect("the script's status is one");
    let mut body = wire::error(&failure.kind, &failure.message);
    body["request_id"] = format!("req_{number:024}").into();
    let mut response = (status, Json(body)).into_response();
    for (name, value) in &failure.headers {
        let name = HeaderName::try_from(name).expect("the script's header has a name");
        let value = HeaderValue::try_from(value.now()).expect("the script's header is text");
        response.headers_mut().append(name, value);
    }
    response
}

fn message(reply: Reply, request: &Value, number: usize) -> Response<Body> {
    let model = &request["model"];
    let is_stream = request["stream"] == true;
    let kind = if is_stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    let pieces: Vec<String> = if is_stream {
        wire::events(&reply, model, number).iter().map(wire::frame).collect()
    } else {
        let text = wire::message(&reply, model, number).to_string();
        let (first, second) = text.split_at(1);
        vec![first.to_owned(), second.to_owned()]
    };
    let id = format!("req_{number:024}");
    let headers = [(header::CONTENT_TYPE, kind), (HeaderName::from_static("request-id"), &id)];
    (headers, perform(pieces, reply.ending, reply.pause)).into_response()
}

/// Sends the pieces of a message, all or the first half.
fn perform(mut pieces: Vec<String>, ending: Ending, pause: Duration) -> Body {
    if ending != Ending::Complete {
        pieces.truncate(pieces.len().div_ceil(2));
    }
    if ending == Ending::Error {
        pieces.push(wire::frame(&wire::error("overloaded_error", "Overloaded")));
    }
    streamed(try_stream! {
        for piece in pieces {
            // Without a pause this still lets the server send what it has.
            tokio::time::sleep(pause).await;
            yield Bytes::from(piece);
        }
        match ending {
            Ending::Complete | Ending::Error => {}
            Ending::Stall => std::future::pending::<()>().await,
            Ending::Disconnect => {
                tokio::task::yield_now().await;
                Err(io::Error::other("disconnected by the script"))?;
            }
        }
    })
}
