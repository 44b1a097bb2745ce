//! The OpenAPI document of a worker.

use protocol::event::Event;
use protocol::job::Job;
use protocol::worker::Status;
use protocol::{WorkerKind, error::ErrorBody};
use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema, ToSchema};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Event, Job, Status, ErrorBody)))]
struct Shared;

/// The document of a worker that takes these routes, without their bodies' schemas.
pub(super) fn document(kind: WorkerKind) -> OpenApi {
    let mut document = Shared::openapi();
    document.info.title = format!("Oneshift {kind}");
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description =
        Some("A worker that does one job, streams it as server-sent events, and exits.".to_owned());
    let read = |summary: &str, schema: &str| json!({ "get": operation(summary, "200", "application/json", schema) });
    let job = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } });
    add(
        &mut document,
        "/api/jobs/{id}",
        json!({
            "parameters": [job],
            "get": operation("The worker's job as it stands", "200", "application/json", "Job"),
            "delete": operation("Ask the job to end", "202", "application/json", "Job"),
        }),
    );
    let after =
        json!({ "name": "after", "in": "query", "schema": { "type": "integer", "minimum": 0 } });
    add(
        &mut document,
        "/api/jobs/{id}/events",
        json!({
            "parameters": [job, after],
            "get": operation("The job's events; resume with Last-Event-ID or after", "200", "text/event-stream", "Event"),
        }),
    );
    add(&mut document, "/status", read("Whether the worker has its job", "Status"));
    add(&mut document, "/health/ready", read("200 while idle, 503 while busy", "Status"));
    document
}

/// Adds `POST /api/<route>` with its body.
pub(super) fn add_shift<R: ToSchema + PartialSchema>(document: &mut OpenApi, route: &str) {
    let components = document.components.get_or_insert_default();
    let mut schemas = vec![(R::name().into_owned(), R::schema())];
    R::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let mut post = operation("Do this one job, streaming it", "200", "text/event-stream", "Event");
    post["requestBody"] =
        json!({ "required": true, "content": content("application/json", &R::name()) });
    add(document, &format!("/api/{route}"), json!({ "post": post }));
}

fn operation(summary: &str, status: &str, media: &str, schema: &str) -> Value {
    json!({
        "summary": summary,
        "responses": {
            status: { "description": summary, "content": content(media, schema) },
            "default": { "description": "An error", "content": content("application/json", "ErrorBody") },
        },
    })
}

fn content(media: &str, schema: &str) -> Value {
    json!({ media: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn add(document: &mut OpenApi, path: &str, item: Value) {
    let item = serde_json::from_value(item).expect("the item above is a path item");
    document.paths.paths.insert(path.to_owned(), item);
}
