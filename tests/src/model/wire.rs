//! Messages as the Messages API sends them, whole or as server-sent events.
//!
//! By <https://docs.anthropic.com/en/api/messages> and <https://docs.anthropic.com/en/api/messages-streaming>.

use serde_json::{Value, json};

use super::script::{Block, Reply, Usage};

/// A message in one piece.
pub(super) fn message(reply: &Reply, model: &Value, number: usize) -> Value {
    let content: Vec<_> =
        reply.blocks.iter().enumerate().map(|(index, block)| whole(block, number, index)).collect();
    let mut message = start(model, number, reply.usage);
    message["content"] = content.into();
    message["stop_reason"] = reply.stop_reason.as_str().into();
    message["usage"]["output_tokens"] = reply.usage.output.into();
    message
}

/// The events of a message.
pub(super) fn events(reply: &Reply, model: &Value, number: usize) -> Vec<Value> {
    let message = start(model, number, reply.usage);
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in reply.blocks.iter().enumerate() {
        let empty = emptied(block, number, index);
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        if index == 0 {
            events.push(json!({"type": "ping"}));
        }
        for delta in deltas(block) {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": reply.stop_reason, "stop_sequence": null},
        "usage": {"output_tokens": reply.usage.output},
    }));
    events.push(json!({"type": "message_stop"}));
    events
}

/// An event as it goes over the wire.
pub(super) fn frame(event: &Value) -> String {
    let name = event["type"].as_str().expect("every event has a type");
    format!("event: {name}\ndata: {event}\n\n")
}

/// The body of an error.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn start(model: &Value, number: usize, usage: Usage) -> Value {
    json!({
        "id": format!("msg_{number:024}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": usage.input,
            "output_tokens": 1,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write,
        },
    })
}

fn whole(block: &Block, number: usize, index: usize) -> Value {
    let mut value = emptied(block, number, index);
    match block {
        Block::Text(text) => value["text"] = text.as_str().into(),
        Block::Thinking(text) => {
            value["thinking"] = text.as_str().into();
            value["signature"] = "c2lnbmVk".into();
        }
        Block::Tool { input, .. } => value["input"] = input.clone(),
    }
    value
}

fn emptied(block: &Block, number: usize, index: usize) -> Value {
    match block {
        Block::Text(_) => json!({"type": "text", "text": ""}),
        Block::Thinking(_) => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::Tool { name, .. } => {
            let id = format!("toolu_{number:020}{index:04}");
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
    }
}

fn deltas(block: &Block) -> Vec<Value> {
    match block {
        Block::Text(text) => {
            split(text).map(|piece| json!({"type": "text_delta", "text": piece})).collect()
        }
        Block::Thinking(text) => split(text)
            .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
            .chain([json!({"type": "signature_delta", "signature": "c2lnbmVk"})])
            .collect(),
        Block::Tool { input, .. } => split(&input.to_string())
            .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
            .collect(),
    }
}

/// A text in at most 64 or so pieces, of at least 12 characters.
fn split(text: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = text.chars().collect();
    let length = (characters.len() / 64).max(12);
    let pieces: Vec<_> = characters.chunks(length).map(|piece| piece.iter().collect()).collect();
    pieces.into_iter()
}
