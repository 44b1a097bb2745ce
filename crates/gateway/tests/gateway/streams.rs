//! What followers get to see, and patches.

use futures_util::StreamExt;
use service::client::{EventStream, Patience};

use crate::support::{
    Gateway, Setup, assert_whole, event, job, names, outcome, read_all, read_until,
};
use crate::worker::Worker;

#[tokio::test]
async fn every_event_id_resumes_with_exactly_the_rest() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("flood 40\nhold\nflood 20")).await;
    let id = stream.job();
    read_until(&mut stream, "agent").await;
    let live: Vec<_> = (0..20)
        .map(|after| {
            let stream = EventStream::new(gateway.endpoint(), id, after % 4, Patience::GATEWAY);
            tokio::spawn(async move { (after % 4, read_all(stream).await) })
        })
        .collect();
    worker.go_on();
    let whole = read_all(EventStream::new(gateway.endpoint(), id, 0, Patience::GATEWAY)).await;
    assert_whole(&whole);
    for follower in live {
        let (after, frames) = follower.await.unwrap();
        assert_eq!(frames, whole[usize::try_from(after).unwrap()..]);
    }
    for after in 0..=whole.len() {
        let stream = EventStream::new(gateway.endpoint(), id, after as u64, Patience::GATEWAY);
        assert_eq!(read_all(stream).await, whole[after..]);
    }
}

#[tokio::test]
async fn a_browser_that_has_all_events_is_told_not_to_come_back() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let frames = read_all(gateway.submit(job("hello")).await).await;
    let url = gateway.url(&format!("/api/jobs/{}/events", event(&frames[0]).job_id));
    let last = frames.len();
    let by_header = gateway.http().get(&url).header("last-event-id", last.to_string());
    // One that was made with the query, and has had no event since, has no id to send.
    let by_query = gateway.http().get(format!("{url}?after={last}"));
    for request in [by_header, by_query] {
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn a_follower_that_never_reads_slows_nobody_down_and_loses_nothing() {
    let gateway = Gateway::start().await;
    let worker = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("hold\nflood 30000")).await;
    let url = gateway.url(&format!("/api/jobs/{}/events", stream.job()));
    let slow = gateway.http().get(url).send().await.unwrap();
    worker.go_on();
    let frames = read_all(stream).await;
    assert_whole(&frames);
    let (mut parser, mut late) = (service::protocol::sse::Parser::default(), Vec::new());
    let mut body = slow.bytes_stream();
    while let Some(bytes) = body.next().await {
        parser.push(&bytes.unwrap(), &mut late).unwrap();
    }
    assert!(late == frames, "{} of {} events", late.len(), frames.len());
}

#[tokio::test]
async fn a_patch_is_what_the_pieces_are_joined() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let mut stream = gateway.submit(job("patch ab\nhold\npatch64 /wA=")).await;
    read_until(&mut stream, "output").await;
    let id = stream.job();
    let error = gateway.endpoint().patch(id).await.unwrap_err();
    assert!(error.to_string().contains("no patch yet"), "{error}");
    _worker.go_on();
    let outcome = outcome(&read_all(stream).await);
    assert_eq!(outcome.patch, Some(format!("/api/jobs/{id}/patch")));
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), b"ab\xff\0"[..]);
}

#[tokio::test]
async fn a_job_without_a_patch_says_so() {
    let gateway = Gateway::start().await;
    let _worker = Worker::workflow(&gateway).await;
    let frames = read_all(gateway.submit(job("hello")).await).await;
    let id = event(&frames[0]).job_id;
    let error = gateway.endpoint().patch(id).await.unwrap_err();
    assert_eq!(error.to_string(), format!("job {id} has no patch"));
}

#[tokio::test]
async fn a_job_that_says_too_much_still_has_its_steps_its_patch_and_its_outcome() {
    let setup = Setup { max_event_bytes: Some(10_000), ..Setup::default() };
    let gateway = Gateway::with(setup).await;
    let _worker = Worker::workflow(&gateway).await;
    let stream = gateway.submit(job("flood 5000\nagent\npatch it\nflood 5000")).await;
    let id = stream.job();
    let frames = read_all(stream).await;
    assert_whole(&frames);
    assert!(frames.len() < 100, "{}", frames.len());
    let is_notice = |frame: &&service::protocol::sse::Frame| frame.data.contains("truncated");
    assert_eq!(frames.iter().filter(is_notice).count(), 1);
    assert_eq!(names(&frames)[frames.len() - 3..], ["agent", "step", "completed"]);
    assert_eq!(gateway.endpoint().patch(id).await.unwrap(), "it");
}
