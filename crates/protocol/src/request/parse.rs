//! From the bytes of a body to a checked request, or to an error that names the field.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::{ErrorCode, RequestError};

/// A body that starts a job.
pub trait JobRequest: DeserializeOwned + Send + 'static {
    /// Checks what the fields' own types cannot.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn validate(&self) -> Result<(), RequestError>;

    /// The request as JSON with the credentials of its repository in it; for the wire between
    /// services only, never for a log or an answer.
    fn to_wire(&self) -> serde_json::Value;
}

/// Reads and checks a request's body.
///
/// # Errors
/// `malformed` when it is not JSON in UTF-8, otherwise a code and the path of the field.
pub fn parse<T: JobRequest>(body: &[u8]) -> Result<T, RequestError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| RequestError::malformed(format!("the body is not UTF-8: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let request: T = serde_path_to_error::deserialize(&mut deserializer).map_err(explain)?;
    deserializer.end().map_err(|error| {
        RequestError::malformed(format!("the body goes on after its JSON: {error}"))
    })?;
    request.validate()?;
    Ok(request)
}

fn explain(error: serde_path_to_error::Error<serde_json::Error>) -> RequestError {
    let path = error.path().to_string();
    let error = error.into_inner();
    if error.classify() != Category::Data {
        return RequestError::malformed(format!("the body is not JSON: {error}"));
    }
    let message = without_position(&error.to_string());
    if let Some(name) = quoted_after(&message, "missing field ") {
        let field = joined(&path, &name);
        return RequestError::field(ErrorCode::MissingField, &field, format!("{field} is missing"));
    }
    if let Some(name) = quoted_after(&message, "unknown field ") {
        // The path of an unknown field already ends with its name.
        let field = if path.ends_with(&name) { path } else { joined(&path, &name) };
        return RequestError::field(ErrorCode::UnknownField, &field, unknown(&field, &message));
    }
    if path == "." {
        return RequestError::malformed(format!("the body is not a JSON object: {message}"));
    }
    let message = if message.contains(&path) { message } else { format!("{path}: {message}") };
    RequestError::field(ErrorCode::InvalidField, path, message)
}

/// serde_json appends ` at line 1 column 2`, which says nothing to the sender of one line.
fn without_position(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(head, _)| head).to_owned()
}

fn quoted_after(message: &str, prefix: &str) -> Option<String> {
    let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
    Some(rest.split_once('`')?.0.to_owned())
}

fn joined(path: &str, name: &str) -> String {
    if path == "." { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(field: &str, message: &str) -> String {
    let known: Vec<&str> = message
        .split_once("expected ")
        .map(|(_, list)| list.split('`').skip(1).step_by(2).collect())
        .unwrap_or_default();
    format!("{field} is not a field; known here: {}", known.join(", "))
}
