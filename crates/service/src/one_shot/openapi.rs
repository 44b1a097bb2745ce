//! The OpenAPI document of a worker.

use protocol::event::Event;
use protocol::job::{Cancellation, Job};
use protocol::worker::Status;
use protocol::{WorkerKind, error::ErrorBody};
use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Event, Job, Cancellation, Status, ErrorBody)))]
struct Shared;

/// A route that takes jobs, and the schemas of their bodies.
#[derive(Clone, Copy)]
pub(super) struct Route {
    name: &'static str,
    body: fn() -> (String, Schemas),
}

type Schemas = Vec<(String, RefOr<Schema>)>;

impl Route {
    /// `POST /api/<name>` with this body.
    pub(super) fn new<R: ToSchema>(name: &'static str) -> Self {
        let body = || {
            let mut schemas = vec![(R::name().into_owned(), R::schema())];
            R::schemas(&mut schemas);
            (R::name().into_owned(), schemas)
        };
        Self { name, body }
    }
}

/// The document of a worker with these routes; made when asked for, as few ever ask.
pub(super) fn document(kind: WorkerKind, routes: &[Route]) -> Value {
    let mut document = json!(Shared::openapi());
    document["info"] = json!({
        "title": format!("Oneshift {kind}"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "A worker that does one job, streams it as server-sent events, and exits.",
    });
    let paths = &mut document["paths"];
    let get = |summary: &str, media: &str, schema: &str| operation(summary, "200", media, schema);
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } });
    paths["/api/jobs/{id}"] = json!({
        "parameters": [id],
        "get": get("The worker's job as it stands", JSON, "Job"),
        "delete": operation("Ask the job to end", "202", JSON, "Cancellation"),
    });
    let after =
        json!({ "name": "after", "in": "query", "schema": { "type": "integer", "minimum": 0 } });
    paths["/api/jobs/{id}/events"] = json!({
        "parameters": [id, after],
        "get": get("The job's events; resume with Last-Event-ID or after", EVENTS, "Event"),
    });
    paths["/status"] = json!({ "get": get("Whether the worker has its job", JSON, "Status") });
    paths["/health/ready"] =
        json!({ "get": get("200 while idle, 503 while busy", JSON, "Status") });
    for route in routes {
        let (name, schemas) = (route.body)();
        let mut post = get("Do this one job, streaming it", EVENTS, "Event");
        post["requestBody"] = json!({ "required": true, "content": content(JSON, &name) });
        document["paths"][format!("/api/{}", route.name)] = json!({ "post": post });
        for (name, schema) in schemas {
            document["components"]["schemas"][name] = json!(schema);
        }
    }
    document
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn operation(summary: &str, status: &str, media: &str, schema: &str) -> Value {
    json!({
        "summary": summary,
        "responses": {
            status: { "description": summary, "content": content(media, schema) },
            "default": { "description": "An error", "content": content(JSON, "ErrorBody") },
        },
    })
}

fn content(media: &str, schema: &str) -> Value {
    json!({ media: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}
