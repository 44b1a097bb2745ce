//! Reads whose callers do not wait for them.

use std::sync::Mutex;

use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::*;

/// A read that goes on until something is sent.
struct Held {
    reading: JoinHandle<Result<(), StoreError>>,
    go_on: std::sync::mpsc::Sender<()>,
}

async fn held(bench: &Bench) -> Held {
    let (go_on, wait) = std::sync::mpsc::channel();
    let (begun, has_begun) = oneshot::channel();
    let (wait, store) = (Mutex::new(wait), bench.store.clone());
    let reading = tokio::spawn(async move {
        let read = move |_: &_| {
            begun.send(()).unwrap();
            // An error means that the test has failed.
            let _ = wait.lock().unwrap().recv();
            Ok(())
        };
        store.read(read).await
    });
    has_begun.await.unwrap();
    Held { reading, go_on }
}

#[tokio::test]
async fn a_read_whose_caller_has_gone_away_keeps_its_place_until_it_is_over() {
    let bench = Bench::open();
    let job = bench.job().await;
    let mut left = Vec::new();
    for _ in 0..crate::store::readers::CONNECTIONS {
        let Held { reading, go_on } = held(&bench).await;
        reading.abort();
        assert!(reading.await.unwrap_err().is_cancelled());
        left.push(go_on);
    }
    // However many come and go away meanwhile, nothing is begun for them.
    for _ in 0..100 {
        assert!(bench.store.job(job.id).now_or_never().is_none());
    }
    let mut next = Box::pin(bench.store.job(job.id));
    assert!(next.as_mut().now_or_never().is_none());
    assert_eq!(bench.store.readers.places.available_permits(), 0);
    for go_on in left {
        go_on.send(()).unwrap();
    }
    assert!(next.await.unwrap().is_some());
}

#[tokio::test]
async fn a_read_that_panics_takes_no_connection_with_it() {
    let bench = Bench::open();
    let job = bench.job().await;
    for _ in 0..crate::store::readers::CONNECTIONS {
        let read = |_: &_| -> rusqlite::Result<()> { panic!("as the test asks") };
        assert!(bench.store.read(read).await.is_err());
    }
    assert!(bench.store.job(job.id).await.unwrap().is_some());
}
