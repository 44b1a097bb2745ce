//! The scripted model over plain HTTP, against the wire format of the Messages API.

#![expect(clippy::unwrap_used, reason = "a test fails where its assumption does")]

use std::time::Duration;

use end_to_end::model::{Block, Ending, Model, Purpose, Reply, Script, Turn};
use end_to_end::sse::Events;
use end_to_end::{http, sse};
use serde_json::{Value, json};

async fn ask(model: &Model, body: Value) -> reqwest::Response {
    http::client()
        .post(format!("{}/v1/messages?beta=true", model.url()))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

fn prompt(text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"model": "claude-test", "max_tokens": 100, "stream": true, "messages": messages})
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_streams_in_the_order_of_the_real_api() {
    let blocks = [
        Block::Thinking("Hm.".into()),
        Block::Text("A text in two pieces.".into()),
        Block::Tool { name: "Read".into(), input: json!({"file_path": "a"}) },
    ];
    let model = Model::start(Script::new([Reply::new(blocks).into()]));
    let events = Events::of(ask(&model, prompt("go")).await).await.rest().await;
    let names: Vec<_> = events.iter().map(|frame| frame.event.as_str()).collect();
    let [start, delta, stop] = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [
        &["message_start", start, "ping", delta, delta, stop][..],
        &[start, delta, delta, stop, start, delta, delta, stop],
        &["message_delta", "message_stop"],
    ];
    assert_eq!(names, expected.concat());
    assert!(events.iter().all(|frame| frame.json()["type"] == frame.event));
    assert_eq!(events[0].json()["message"]["model"], "claude-test");
    assert_eq!(joined(&events, "text_delta", "text"), "A text in two pieces.");
    assert_eq!(joined(&events, "input_json_delta", "partial_json"), r#"{"file_path":"a"}"#);
    assert_eq!(events[14].json()["delta"]["stop_reason"], "tool_use");
}

fn joined(events: &[sse::Frame], kind: &str, field: &str) -> String {
    let deltas = events.iter().map(|frame| frame.json()["delta"].clone());
    let deltas = deltas.filter(|delta| delta["type"] == kind);
    deltas.map(|delta| delta[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_message_also_comes_in_one_piece() {
    let model = Model::start(Script::says("Hello."));
    let mut body = prompt("go");
    body["stream"] = false.into();
    let message = json_of(ask(&model, body).await).await;
    assert_eq!(message["content"], json!([{"type": "text", "text": "Hello."}]));
    assert_eq!(message["stop_reason"], "end_turn");
    assert_eq!(message["usage"]["output_tokens"], 10);
}

#[tokio::test]
async fn failures_have_their_status_headers_and_body() {
    for (turn, status, kind) in [
        (Turn::rate_limited(7), 429, "rate_limit_error"),
        (Turn::overloaded(), 529, "overloaded_error"),
        (Turn::unauthorized(), 401, "authentication_error"),
    ] {
        let model = Model::start(Script::new([turn]));
        let response = ask(&model, prompt("go")).await;
        assert_eq!(response.status(), status);
        let retry_after = response.headers().get("retry-after").cloned();
        assert_eq!(retry_after.is_some_and(|value| value == "7"), status == 429);
        let body = json_of(response).await;
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)));
    }
}

#[tokio::test]
async fn a_disconnect_a_stall_and_an_error_come_in_the_middle_of_the_text() {
    for ending in [Ending::Disconnect, Ending::Stall, Ending::Error] {
        let text = Block::Text("Half of this text does not arrive at all.".into());
        let model = Model::start(Script::new([Reply::new([text]).ending(ending).into()]));
        let mut response = ask(&model, prompt("go")).await;
        let mut bytes = Vec::new();
        let patience = Duration::from_secs(if ending == Ending::Stall { 2 } else { 30 });
        let end = loop {
            let chunk = tokio::time::timeout(patience, response.chunk()).await;
            match chunk {
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
                other => break other,
            }
        };
        let frames = sse::parse(&String::from_utf8(bytes).unwrap());
        assert!(frames.iter().any(|frame| frame.event == "content_block_delta"), "{ending:?}");
        assert!(!frames.iter().any(|frame| frame.event == "message_stop"), "{ending:?}");
        match ending {
            Ending::Disconnect => assert!(end.unwrap().is_err()),
            Ending::Stall => assert!(end.is_err()),
            _ => assert_eq!(frames.last().unwrap().json()["error"]["type"], "overloaded_error"),
        }
    }
}

#[tokio::test]
async fn requests_beside_the_conversation_take_no_turn() {
    let model = Model::start(Script::says("The only turn."));
    let mut title = prompt("a title, please");
    title["tools"] = json!([]);
    assert_eq!(ask(&model, title).await.status(), 200);
    let mut quota = prompt("quota");
    quota["max_tokens"] = 1.into();
    assert_eq!(ask(&model, quota).await.status(), 200);
    let client = http::client();
    let count = format!("{}/v1/messages/count_tokens", model.url());
    let count = client.post(count).body(prompt("go").to_string()).send().await.unwrap();
    assert!(json_of(count).await["input_tokens"].is_u64());
    let unknown = client.get(format!("{}/v1/unknown", model.url())).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(ask(&model, prompt("go")).await.text().await.unwrap().contains("The only tur"));
    assert_eq!(ask(&model, prompt("go")).await.status(), 400);
    let purposes: Vec<_> = model.requests().iter().map(|request| request.purpose).collect();
    let beside = [Purpose::Aside, Purpose::Aside, Purpose::CountTokens, Purpose::Other];
    assert_eq!(purposes[..4], beside);
    assert_eq!(purposes[4..], [Purpose::Turn(0), Purpose::Turn(1)]);
}

#[tokio::test]
async fn silence_is_silent() {
    let model = Model::start(Script::new([Turn::Silence]));
    let answer = tokio::time::timeout(Duration::from_millis(300), ask(&model, prompt("go"))).await;
    assert!(answer.is_err());
}
