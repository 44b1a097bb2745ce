mod attempts;
mod readers;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;
use service::protocol::event::{Event, Payload, StepEvent, StepState};
use service::protocol::job::JobState;
use service::protocol::request::parse;
use service::protocol::sse::{Frame, Parser};
use service::protocol::{JobId, Outcome, Reason, State, WorkerId, WorkspaceId};
use tempfile::TempDir;

use super::insert::Idempotency;
use super::*;
use crate::job_ref::JobRef;
use crate::live::News;

const MAX_EVENT_BYTES: u64 = 100_000;

struct Bench {
    folder: TempDir,
    store: Store,
    writing: Writing,
    live: Arc<Live>,
}

impl Bench {
    fn open() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(folder: TempDir) -> Self {
        let (live, wait) = (Arc::<Live>::default(), Duration::from_secs(5));
        let (store, writing) =
            Store::open(folder.path(), wait, MAX_EVENT_BYTES, Arc::clone(&live)).unwrap();
        Self { folder, store, writing, live }
    }

    async fn reopen(self) -> Self {
        self.writing.close().await;
        Self::at(self.folder)
    }

    async fn job(&self) -> JobRef {
        let new = record(json!({}));
        JobRef { id: new.id, row: self.store.insert(new).await.unwrap() }
    }

    async fn events(&self, row: i64, after: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        for chunk in self.store.events(row, after).await.unwrap() {
            Parser::default().push(&chunk.after(after), &mut frames).unwrap();
        }
        frames
    }
}

fn record(extra: serde_json::Value) -> NewRecord {
    let mut body = json!({ "prompt": "p", "repoUrl": "https://bob:s3cret@host/org/repo" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    NewRecord {
        id: JobId::random(),
        created_at: change::now(),
        token: "ci".to_owned(),
        request: parse(body.to_string().as_bytes()).unwrap(),
        idempotency: None,
    }
}

fn output(job: JobRef, text: &str) -> Frame {
    let payload = Payload::Output {
        step: service::protocol::Step::Execute,
        stream: service::protocol::event::Stream::Stdout,
        text: text.to_owned(),
        encoding: None,
    };
    Frame::new(0, &Event { payload, job_id: job.id, at: change::now() })
}

fn requeue(outcome: Option<Outcome>) -> Transition {
    let (pause, outcome) = (Duration::ZERO, outcome.map(Box::new));
    Transition::Requeue { attempt: 1, retries_used: 0, pause, outcome }
}

fn ended(job: JobRef) -> Change {
    Change::new(job, Transition::End(Box::new(Outcome::completed("done"))))
}

#[tokio::test]
async fn a_job_and_its_events_survive_a_restart() {
    let bench = Bench::open();
    let job = bench.job().await;
    let mut change = Change::new(job, Transition::Stay);
    change.events = vec![output(job, "one"), output(job, "two")];
    bench.store.change(change).await.unwrap();
    bench.store.change(ended(job)).await.unwrap();
    let bench = bench.reopen().await;
    let record = bench.store.job(job.id).await.unwrap().unwrap();
    assert_eq!((record.row, record.job.state), (job.row, JobState::Completed));
    assert_eq!((record.job.last_event, record.token.as_str()), (4, "ci"));
    let names: Vec<(u64, String)> =
        bench.events(job.row, 0).await.into_iter().map(|frame| (frame.id, frame.event)).collect();
    let expected = ["accepted", "output", "output", "completed"];
    assert_eq!(names, (1..).zip(expected.map(str::to_owned)).collect::<Vec<_>>());
    assert_eq!(bench.events(job.row, 3).await[0].event, "completed");
}

#[tokio::test]
async fn nothing_is_added_after_the_end() {
    let bench = Bench::open();
    let job = bench.job().await;
    assert!(bench.store.change(ended(job)).await.unwrap().was_open);
    let second = Transition::End(Box::new(Outcome::cancelled(Reason::CancelRequested, "late")));
    assert!(!bench.store.change(Change::new(job, second)).await.unwrap().was_open);
    let mut late = Change::new(job, requeue(None));
    late.events = vec![output(job, "late")];
    assert!(!bench.store.change(late).await.unwrap().was_open);
    let record = bench.store.job(job.id).await.unwrap().unwrap();
    assert_eq!(record.job.outcome.unwrap().state, State::Completed);
    assert_eq!(bench.events(job.row, 0).await.len(), 2);
}

#[tokio::test]
async fn credentials_reach_the_worker_and_are_gone_after_the_end() {
    let bench = Bench::open();
    let job = bench.job().await;
    let take = Transition::Take { attempt: 1, worker: WorkerId::random() };
    let taken = bench.store.change(Change::new(job, take)).await.unwrap();
    assert_eq!(taken.request.unwrap()["repoUrl"], "https://bob:s3cret@host/org/repo");
    bench.store.change(ended(job)).await.unwrap();
    let shown = bench.store.job(job.id).await.unwrap().unwrap().job;
    assert!(!serde_json::to_string(&shown).unwrap().contains("s3cret"));
    let bench = bench.reopen().await;
    bench.store.change(ended(job)).await.unwrap();
    let file = std::fs::read(bench.folder.path().join("oneshift.db")).unwrap();
    assert!(!file.windows(6).any(|bytes| bytes == b"s3cret"));
}

/// The files of the store that hold the password of [`record`].
fn betraying(bench: &Bench) -> Vec<PathBuf> {
    let files = std::fs::read_dir(bench.folder.path()).unwrap().flatten().map(|file| file.path());
    let betrays =
        |file: &PathBuf| std::fs::read(file).unwrap().windows(6).any(|bytes| bytes == b"s3cret");
    files.filter(betrays).collect()
}

#[tokio::test]
async fn no_file_of_a_running_store_keeps_the_credentials_of_an_ended_job() {
    let bench = Bench::open();
    // The longer one does not fit into a page.
    for prompt in ["p".to_owned(), "p".repeat(50_000)] {
        let new = record(json!({ "prompt": prompt }));
        let job = JobRef { id: new.id, row: bench.store.insert(new).await.unwrap() };
        assert!(!betraying(&bench).is_empty(), "a job that waits needs them");
        bench.store.change(ended(job)).await.unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !betraying(&bench).is_empty() {
            assert!(std::time::Instant::now() < deadline, "{:?}", betraying(&bench));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_patch_belongs_to_the_attempt_that_made_it() {
    let bench = Bench::open();
    let job = bench.job().await;
    for (attempt, text) in [(1, "old"), (2, "new")] {
        let take = Transition::Take { attempt, worker: WorkerId::random() };
        bench.store.change(Change::new(job, take)).await.unwrap();
        let mut change = Change::new(job, Transition::Stay);
        change.pieces = vec![text.into(), b"!".to_vec()];
        bench.store.change(change).await.unwrap();
    }
    bench.store.change(ended(job)).await.unwrap();
    assert_eq!(bench.store.patch(job.row, 0).await.unwrap().concat(), b"new!");
    let outcome = bench.store.job(job.id).await.unwrap().unwrap().job.outcome.unwrap();
    assert_eq!(outcome.patch, Some(format!("/api/jobs/{}/patch", job.id)));
    let last = bench.events(job.row, 0).await.pop().unwrap();
    assert!(last.data.contains(&outcome.patch.unwrap()), "{}", last.data);
}

#[tokio::test]
async fn the_upstream_position_and_the_pieces_are_as_old_as_the_events() {
    let bench = Bench::open();
    let job = bench.job().await;
    let take = Transition::Take { attempt: 1, worker: WorkerId::random() };
    bench.store.change(Change::new(job, take)).await.unwrap();
    let workspace = Some(WorkspaceId::random());
    let mut change = Change::new(job, Transition::AgentStarted { workspace });
    change.events = vec![output(job, "one")];
    change.upstream = Some(17);
    bench.store.change(change).await.unwrap();
    let bench = bench.reopen().await;
    assert_eq!(bench.store.mark(job.row).await.unwrap().upstream, 17);
    assert_eq!(bench.store.attempt(job.row).await.unwrap().workspace, workspace);
    let open = bench.store.open_jobs().await.unwrap();
    assert_eq!((open[0].attempt, open[0].agent_started, open[0].job), (1, true, job));
}

#[tokio::test]
async fn a_log_that_is_full_says_so_once_and_goes_on_with_steps_and_the_outcome() {
    let mut bench = Bench::open();
    let job = bench.job().await;
    let step = |state| {
        let step = service::protocol::Step::Execute;
        let payload = Payload::Step(Box::new(StepEvent::new(step, state)));
        Frame::new(0, &Event { payload, job_id: job.id, at: change::now() })
    };
    let text = "x".repeat(1000);
    for n in 0..150 {
        let mut change = Change::new(job, Transition::Stay);
        change.events = vec![output(job, &text), output(job, &text)];
        change.pieces = vec![b"p".to_vec()];
        change.upstream = Some(n);
        bench.store.change(change).await.unwrap();
        if n == 100 {
            bench = bench.reopen().await;
        }
    }
    let mut change = Change::new(job, Transition::Stay);
    change.events = vec![step(StepState::Completed), output(job, "short"), step(StepState::Failed)];
    bench.store.change(change).await.unwrap();
    bench.store.change(ended(job)).await.unwrap();
    let mut frames = Vec::new();
    while let Some(last) = frames.last().map_or(Some(0), |frame: &Frame| {
        (!service::protocol::event::is_terminal(&frame.event)).then_some(frame.id)
    }) {
        frames.extend(bench.events(job.row, last).await);
    }
    let ids: Vec<u64> = frames.iter().map(|frame| frame.id).collect();
    assert_eq!(ids, (1..=frames.len() as u64).collect::<Vec<_>>());
    let bytes: usize = frames.iter().map(|frame| frame.data.len()).sum();
    assert!((80_000..101_000).contains(&bytes), "{bytes}");
    let mut names: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    names.dedup();
    assert_eq!(names, ["accepted", "output", "agent", "step", "completed"]);
    let notices: Vec<_> = frames.iter().filter(|frame| frame.event == "agent").collect();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].data.contains("\"truncated\""), "{}", notices[0].data);
    assert_eq!(bench.store.mark(job.row).await.unwrap().upstream, 149);
    let pieces = rusqlite::Connection::open(bench.folder.path().join("oneshift.db")).unwrap();
    let count = pieces.query_row("SELECT count(*) FROM patches", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 150);
}

#[tokio::test]
async fn what_waits_together_is_committed_together_and_shown_in_order() {
    let bench = Bench::open();
    let job = bench.job().await;
    let mut follower = bench.live.subscribe(job.id);
    let (before, _) = bench.store.counts.read();
    let lock = rusqlite::Connection::open(bench.folder.path().join("oneshift.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let changes = (0..100).map(|n| {
        let mut change = Change::new(job, Transition::Stay);
        change.events = vec![output(job, &n.to_string())];
        let store = bench.store.clone();
        tokio::spawn(async move { store.change(change).await.unwrap() })
    });
    let changes: Vec<_> = changes.collect();
    // All of them fit into the queue, so each is in it once it has been polled.
    tokio::task::yield_now().await;
    lock.execute_batch("COMMIT").unwrap();
    let mut last = 1;
    while last < 101 {
        match follower.next().await {
            Ok(News::Stored) => panic!("all of it is small"),
            Ok(News::Shown(chunk)) => {
                assert!(chunk.first > last);
                last = chunk.last;
            }
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for change in changes {
        change.await.unwrap();
    }
    let (after, _) = bench.store.counts.read();
    assert!(after - before <= 3, "{} commits", after - before);
    assert_eq!(bench.events(job.row, 0).await.len(), 101);
}

#[tokio::test]
async fn an_idempotency_key_names_one_job_of_one_token() {
    let bench = Bench::open();
    let idempotency = Idempotency { key: "k".to_owned(), body_hash: [7; 32] };
    let mut new = record(json!({}));
    new.idempotency = Some(idempotency.clone());
    let job = JobRef { id: new.id, row: bench.store.insert(new).await.unwrap() };
    let keyed = |token: &str| bench.store.keyed(token.to_owned(), "k".to_owned());
    assert_eq!(keyed("ci").await.unwrap(), Some((job, idempotency.clone())));
    assert_eq!(keyed("other").await.unwrap(), None);
    let mut again = record(json!({}));
    again.idempotency = Some(idempotency);
    assert!(bench.store.insert(again).await.is_err());
}

#[tokio::test]
async fn an_idempotency_key_is_free_again_a_day_after_the_job() {
    let bench = Bench::open();
    let idempotency = Idempotency { key: "k".to_owned(), body_hash: [7; 32] };
    let mut new = record(json!({}));
    new.idempotency = Some(idempotency.clone());
    let job = JobRef { id: new.id, row: bench.store.insert(new).await.unwrap() };
    bench.store.change(ended(job)).await.unwrap();
    let file = rusqlite::Connection::open(bench.folder.path().join("oneshift.db")).unwrap();
    let day = query::KEY_LIFETIME_MS + 1;
    file.execute("UPDATE jobs SET finished_at = finished_at - ?", [day]).unwrap();
    assert_eq!(bench.store.keyed("ci".to_owned(), "k".to_owned()).await.unwrap(), None);
    let mut again = record(json!({}));
    again.idempotency = Some(idempotency);
    bench.store.insert(again).await.unwrap();
}

#[tokio::test]
async fn one_bad_change_does_not_take_others_down_with_it() {
    let bench = Bench::open();
    let good = bench.job().await;
    let bad = || {
        let mut new = record(json!({}));
        new.id = good.id;
        bench.store.insert(new)
    };
    let fine = || bench.store.insert(record(json!({})));
    let (first, second, third, fourth) = tokio::join!(bad(), fine(), bad(), fine());
    assert!(first.is_err() && third.is_err());
    assert!(second.is_ok() && fourth.is_ok());
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_every_filter() {
    let bench = Bench::open();
    let mut rows = Vec::new();
    for n in 0..5 {
        let new = record(json!({ "labels": { "n": (n % 2).to_string() } }));
        let job = JobRef { id: new.id, row: bench.store.insert(new).await.unwrap() };
        rows.push(job);
    }
    bench.store.change(ended(rows[4])).await.unwrap();
    let list = |filter: Filter| async {
        let (records, has_more) = bench.store.jobs(filter).await.unwrap();
        (records.iter().map(|record| record.row).collect::<Vec<_>>(), has_more)
    };
    let all = Filter { limit: 3, ..Filter::default() };
    assert_eq!(list(all.clone()).await, (vec![rows[4].row, rows[3].row, rows[2].row], true));
    let rest = Filter { before: Some(rows[2].row), ..all.clone() };
    assert_eq!(list(rest).await, (vec![rows[1].row, rows[0].row], false));
    let odd = Filter { label: Some(("n".into(), "1".into())), ..all.clone() };
    assert_eq!(list(odd).await, (vec![rows[3].row, rows[1].row], false));
    let done = Filter { state: Some(JobState::Completed), ..all.clone() };
    assert_eq!(list(done).await, (vec![rows[4].row], false));
    let foreign = Filter { token: Some("other".into()), ..all.clone() };
    assert_eq!(list(foreign).await, (vec![], false));
    let repo = Filter { repo: Some("https://host/org/repo".into()), limit: 9, ..all };
    assert_eq!(list(repo).await.0.len(), 5);
}

#[tokio::test]
async fn a_second_gateway_waits_then_says_who_is_in_the_way() {
    let bench = Bench::open();
    let folder: PathBuf = bench.folder.path().to_owned();
    let second = Store::open(&folder, Duration::ZERO, 1, Arc::default());
    let fault = second.err().unwrap().to_string();
    assert!(fault.contains("another gateway uses the store"), "{fault}");
    let waiting = std::thread::spawn(move || {
        Store::open(&folder, Duration::from_secs(60), 1, Arc::default()).map(drop)
    });
    bench.writing.close().await;
    waiting.join().unwrap().unwrap();
}

#[tokio::test]
async fn the_files_are_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new");
    let (store, writing) = Store::open(&data, Duration::from_secs(5), 1, Arc::default()).unwrap();
    store.insert(record(json!({}))).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    writing.close().await;
}

#[tokio::test]
async fn old_jobs_go_a_portion_at_a_time_and_their_room_is_used_again() {
    let bench = Bench::open();
    let file = rusqlite::Connection::open(bench.folder.path().join("oneshift.db")).unwrap();
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let keep = bench.job().await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let mut new = record(json!({ "labels": { "a": "b" } }));
        new.token = "other".to_owned();
        let job = JobRef { id: new.id, row: bench.store.insert(new).await.unwrap() };
        let mut change = Change::new(job, Transition::Stay);
        change.pieces = (0..10).map(|_| vec![7; 1024 * 1024]).collect();
        bench.store.change(change).await.unwrap();
        bench.store.change(ended(job)).await.unwrap();
        let mut follower = bench.live.subscribe(job.id);
        let before = now().as_millisecond() + 1;
        let mut portions = 1;
        while bench.store.sweep(before).await.unwrap() {
            assert!(bench.store.job(job.id).await.unwrap().is_none());
            portions += 1;
        }
        assert!((3..6).contains(&portions), "{portions}");
        assert!(follower.next().await.is_err());
        sizes.push(number("PRAGMA page_count"));
    }
    let left = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM requests)
        + (SELECT count(*) FROM events) + (SELECT count(*) FROM patches)
        + (SELECT count(*) FROM labels)";
    assert_eq!(number(left), 3);
    assert!(bench.store.job(keep.id).await.unwrap().is_some());
    assert!(sizes[2] <= sizes[0] + 16, "{sizes:?}");
}
