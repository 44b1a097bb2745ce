//! From the bytes of a body to a checked request, or to an error that names the field.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
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

/// Reads and checks the body of a request for a job.
///
/// # Errors
/// `malformed` when it is not JSON in UTF-8, otherwise a code and the path of the field.
pub fn parse<T: JobRequest>(body: &[u8]) -> Result<T, RequestError> {
    let request: T = read(body)?;
    request.validate()?;
    Ok(request)
}

/// Reads a request's body, whatever it asks for.
///
/// # Errors
/// As [`parse`].
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| RequestError::malformed(format!("the body is not UTF-8: {error}")))?;
    refuse_lists(&read_json(text)?)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(explain)
}

fn read_json(text: &str) -> Result<Value, RequestError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Value::deserialize(&mut deserializer)
        .map_err(|error| RequestError::malformed(format!("the body is not JSON: {error}")))?;
    deserializer.end().map_err(|error| {
        RequestError::malformed(format!("the body goes on after its JSON: {error}"))
    })?;
    Ok(value)
}

/// No request has a list anywhere, but serde would take one for an object whose fields stand in
/// their order.
fn refuse_lists(body: &Value) -> Result<(), RequestError> {
    match list_in(body) {
        None => Ok(()),
        Some(path) if path.is_empty() => {
            Err(RequestError::malformed("the body is not a JSON object: it is a list".to_owned()))
        }
        Some(path) => {
            let message = format!("{path}: invalid type: a list");
            Err(RequestError::field(ErrorCode::InvalidField, path, message))
        }
    }
}

/// Where the first list is.
fn list_in(value: &Value) -> Option<String> {
    match value {
        Value::Array(_) => Some(String::new()),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let rest = list_in(value)?;
            Some(if rest.is_empty() { name.clone() } else { format!("{name}.{rest}") })
        }),
        _ => None,
    }
}

fn explain(error: serde_path_to_error::Error<serde_json::Error>) -> RequestError {
    let path = error.path().to_string();
    let error = error.into_inner();
    let message = match error.classify() {
        Category::Data => without_position(&error.to_string()),
        // The body is JSON; serde_json says this where it looks for one of several words.
        _ => "invalid type: expected a text".to_owned(),
    };
    if let Some(name) = quoted_after(&message, "missing field ") {
        let field = joined(&path, &name);
        return RequestError::field(ErrorCode::MissingField, &field, format!("{field} is missing"));
    }
    if let Some(name) = quoted_after(&message, "unknown field ") {
        let field = ending_with(path, &name);
        return RequestError::field(ErrorCode::UnknownField, &field, unknown(&field, &message));
    }
    if let Some(name) = quoted_after(&message, "duplicate field ") {
        let field = ending_with(path, &name);
        let message = format!("{field} is there more than once");
        return RequestError::field(ErrorCode::InvalidField, field, message);
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

/// The path of the field of this name; the path of a field that was read already ends with it.
fn ending_with(path: String, name: &str) -> String {
    if path == name || path.ends_with(&format!(".{name}")) { path } else { joined(&path, name) }
}

fn unknown(field: &str, message: &str) -> String {
    let known: Vec<&str> = message
        .split_once("expected ")
        .map(|(_, list)| list.split('`').skip(1).step_by(2).collect())
        .unwrap_or_default();
    format!("{field} is not a field; known here: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::WorkflowRequest;

    fn refusal(body: &str) -> RequestError {
        parse::<WorkflowRequest>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_list_is_not_taken_for_an_object() {
        for (body, field) in [
            (r#"{"prompt":"x","repoUrl":"https://h/r","limits":[]}"#, "limits"),
            (r#"{"prompt":"x","repoUrl":"https://h/r","limits":[60]}"#, "limits"),
            (
                r#"{"prompt":"x","repoUrl":"https://h/r","deliver":{"mode":["none"]}}"#,
                "deliver.mode",
            ),
        ] {
            let refusal = refusal(body);
            assert_eq!(refusal.field.as_deref(), Some(field), "{refusal:?}");
        }
        assert_eq!(refusal(r#"["x","https://h/r"]"#).code, ErrorCode::Malformed);
    }

    #[test]
    fn a_number_in_the_place_of_a_word_is_told_with_its_field() {
        let refusal = refusal(r#"{"prompt":"x","repoUrl":"https://h/r","deliver":{"mode":1}}"#);
        assert_eq!(refusal.code, ErrorCode::InvalidField);
        assert_eq!(refusal.field.as_deref(), Some("deliver.mode"));
        assert_eq!(refusal.message, "deliver.mode: invalid type: expected a text");
    }

    #[test]
    fn a_field_that_is_there_twice_is_named() {
        for (body, field) in [
            (r#"{"prompt":"x","prompt":"y","repoUrl":"https://h/r"}"#, "prompt"),
            (
                r#"{"prompt":"x","repoUrl":"https://h/r","limits":{"maxTurns":1,"maxTurns":1}}"#,
                "limits.maxTurns",
            ),
            (
                r#"{"prompt":"x","repoUrl":"https://h/r","limits":{"maxTurns":1},"limits":{}}"#,
                "limits",
            ),
        ] {
            let refusal = refusal(body);
            assert_eq!(refusal.code, ErrorCode::InvalidField, "{refusal:?}");
            assert_eq!(refusal.field.as_deref(), Some(field), "{refusal:?}");
            assert_eq!(refusal.message, format!("{field} is there more than once"));
        }
    }

    #[test]
    fn what_is_not_one_json_object_is_malformed() {
        for body in ["", "{", "{} {}", "1", "\"x\"", "{\"prompt\":\"x\",}"] {
            assert_eq!(refusal(body).code, ErrorCode::Malformed, "{body}");
        }
    }
}
