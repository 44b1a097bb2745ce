//! The OpenAPI document of the gateway.

use axum::Json;
use serde_json::{Value, json};
use service::protocol::cluster::{Cluster, ScaleRequest, ServiceChange};
use service::protocol::error::ErrorBody;
use service::protocol::event::Event;
use service::protocol::job::{Cancellation, Job, JobPage};
use service::protocol::request::WorkflowRequest;
use service::protocol::worker::Status;
use utoipa::OpenApi as _;

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    Event,
    Job,
    Cancellation,
    JobPage,
    Status,
    ErrorBody,
    WorkflowRequest,
    Cluster,
    ScaleRequest,
    ServiceChange
)))]
struct Schemas;

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The document, as `GET /openapi.json` serves it.
#[must_use]
pub fn document() -> Value {
    let schemas = serde_json::to_value(Schemas::openapi()).expect("the document is plain JSON");
    let mut components = schemas["components"].clone();
    components["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
    json!({
        "openapi": schemas["openapi"],
        "info": {
            "title": "Oneshift gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Takes jobs for coding agents, streams what they do as server-sent \
                events, and remembers how they ended.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": {
            "/api/workflow": { "post": submit() },
            "/api/jobs": { "get": list() },
            "/api/jobs/{id}": {
                "parameters": [job_id()],
                "get": operation("A job as it stands", &[("200", "The job", JSON, "Job")]),
                "delete": operation("Ask for a job's end; harmless when it has ended", &[
                    ("202", "The job, which is about to end", JSON, "Cancellation"),
                    ("200", "The job, which has ended", JSON, "Cancellation"),
                    ("503", "It cannot be stored now; ask again", JSON, "ErrorBody"),
                ]),
            },
            "/api/jobs/{id}/events": { "parameters": [job_id()], "get": events() },
            "/api/jobs/{id}/patch": { "parameters": [job_id()], "get": patch() },
            "/api/cluster": { "get": cluster() },
            "/api/cluster/services/{name}/scale": {
                "parameters": [service()],
                "post": scale(),
            },
            "/api/cluster/services/{name}/update": {
                "parameters": [service()],
                "post": change("Replace all replicas of a service, also if nothing changes"),
            },
            "/api/cluster/services/{name}/rollback": {
                "parameters": [service()],
                "post": change("Go back to a service's version before the latest"),
            },
            "/status": { "get": open(operation(
                "Whether any job is queued or running", &[("200", "The status", JSON, "Status")],
            )) },
            "/health/live": { "get": open(plain("Whether the process serves at all", JSON)) },
            "/health/ready": { "get": open(plain("Whether it takes jobs", JSON)) },
            "/health": { "get": open(plain("Its version, jobs and workers in numbers", JSON)) },
            "/metrics": { "get": open(plain("The same for Prometheus", "text/plain")) },
        },
        "components": components,
    })
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn submit() -> Value {
    let mut submit = operation(
        "Submit a job and follow it from its first event",
        &[
            ("200", "The job's events", EVENTS, "Event"),
            ("202", "With Prefer: respond-async: the job, and its Location", JSON, "Job"),
            ("429", "A quota is used up; Retry-After says when to come back", JSON, "ErrorBody"),
            ("503", "The queue is full, or the gateway stops", JSON, "ErrorBody"),
        ],
    );
    submit["requestBody"] =
        json!({ "required": true, "content": content(JSON, "WorkflowRequest") });
    submit["parameters"] = json!([
        parameter(
            "header",
            "Idempotency-Key",
            "The same key with the same body names the same job, \
            until 24 h after its end; with another body it is an error",
            string()
        ),
        parameter(
            "header",
            "Prefer",
            "respond-async: do not stream",
            json!({ "type": "string", "enum": ["respond-async"] })
        ),
        parameter(
            "query",
            "onDisconnect",
            "What becomes of the job when this connection breaks",
            json!({ "type": "string", "enum": ["continue", "cancel"], "default": "continue" })
        ),
    ]);
    submit
}

fn list() -> Value {
    let mut list = operation("Jobs, newest first", &[("200", "A page of jobs", JSON, "JobPage")]);
    list["parameters"] = json!([
        parameter(
            "query",
            "state",
            "Only in this state",
            json!({ "$ref": "#/components/schemas/JobState" })
        ),
        parameter("query", "label", "Only with this label, as key=value", string()),
        parameter("query", "repo", "Only of this repository", string()),
        parameter(
            "query",
            "limit",
            "At most so many",
            json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 })
        ),
        parameter("query", "cursor", "nextCursor of the page before", string()),
    ]);
    list
}

fn events() -> Value {
    let number = json!({ "type": "integer", "minimum": 0, "default": 0 });
    let mut events = operation(
        "A job's events, until its last one",
        &[("200", "The job's events", EVENTS, "Event")],
    );
    events["responses"]["204"] =
        json!({ "description": "The job has ended, and nothing follows the given event" });
    events["parameters"] = json!([
        parameter("header", "Last-Event-ID", "Only what follows this event", number.clone()),
        parameter("query", "after", "The same; if both are given, the header counts", number),
    ]);
    events
}

fn patch() -> Value {
    let mut patch = plain("A job's changes, as git apply takes them", "text/x-patch");
    patch["responses"]["200"]["content"]["text/x-patch"] =
        json!({ "schema": { "type": "string", "format": "binary" } });
    patch
}

fn cluster() -> Value {
    operation(
        "The cluster as its operator last saw it",
        &[
            ("200", "The cluster", JSON, "Cluster"),
            ("503", "No operator is attached, or it has not reported for 15 s", JSON, "ErrorBody"),
        ],
    )
}

fn scale() -> Value {
    let mut scale = change("Change how many replicas of a kind of workers there are");
    scale["requestBody"] = json!({ "required": true, "content": content(JSON, "ScaleRequest") });
    scale
}

/// An operation that the cluster's operator carries out; it needs the scope `admin`.
fn change(summary: &str) -> Value {
    operation(
        summary,
        &[
            ("200", "Docker has taken the change", JSON, "ServiceChange"),
            (
                "202",
                "The operator has the order and has not said within 10 s what came of it",
                JSON,
                "ServiceChange",
            ),
            ("404", "There is no such service", JSON, "ErrorBody"),
            ("409", "The operator could not do it, and says why", JSON, "ErrorBody"),
            ("503", "No operator came for the order: nothing was changed", JSON, "ErrorBody"),
        ],
    )
}

fn operation(summary: &str, answers: &[(&str, &str, &str, &str)]) -> Value {
    let mut responses = json!({
        "default": { "description": "An error", "content": content(JSON, "ErrorBody") },
    });
    for (status, description, media, schema) in answers {
        responses[*status] =
            json!({ "description": description, "content": content(media, schema) });
    }
    json!({ "summary": summary, "responses": responses })
}

fn plain(summary: &str, media: &str) -> Value {
    let mut plain = operation(summary, &[]);
    plain["responses"]["200"] = json!({ "description": summary, "content": { media: {} } });
    plain
}

/// An operation that needs no token.
fn open(mut operation: Value) -> Value {
    operation["security"] = json!([]);
    operation
}

fn content(media: &str, schema: &str) -> Value {
    json!({ media: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

fn job_id() -> Value {
    let mut id = parameter("path", "id", "The job", json!({ "type": "string", "format": "uuid" }));
    id["required"] = json!(true);
    id
}

fn service() -> Value {
    let mut name = parameter("path", "name", "The service, by its name in the stack", string());
    name["required"] = json!(true);
    name
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": place, "name": name, "description": description, "schema": schema })
}

fn string() -> Value {
    json!({ "type": "string" })
}
