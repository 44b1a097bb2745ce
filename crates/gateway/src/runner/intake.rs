//! Reads a worker's stream ahead of the store, within bounds.

use std::sync::Arc;

use service::client::{ClientError, EventStream};
use service::protocol::sse::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of events that may be read and not yet committed. More does not make the store faster; the
/// worker keeps the rest.
const MAX_BYTES: u32 = 2 * 1024 * 1024;

/// Batches, likewise: an event of a few bytes takes more memory than its text.
const MAX_BATCHES: usize = 1024;

/// A worker's events on their way into the store.
pub(super) struct Intake {
    batches: mpsc::Receiver<Batch>,
    /// Why no more come, once all that came has been taken.
    failure: Option<ClientError>,
    _reader: AbortOnDropHandle<()>,
}

/// Events that arrived together, or the reason why none come any more.
struct Batch {
    frames: Result<Vec<Frame>, ClientError>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// Starts reading.
    pub(super) fn start(stream: EventStream) -> Self {
        let (sender, batches) = mpsc::channel(MAX_BATCHES);
        let reader = AbortOnDropHandle::new(tokio::spawn(read(stream, sender)));
        Self { batches, failure: None, _reader: reader }
    }

    /// All events that have arrived and are not yet taken, at least one; `None` after the last.
    ///
    /// # Errors
    /// When the worker is lost; what came before has been returned.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Frame>>, ClientError> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let Some(first) = self.batches.recv().await else { return Ok(None) };
        let mut frames = first.frames?;
        while let Ok(more) = self.batches.try_recv() {
            match more.frames {
                Ok(more) => frames.extend(more),
                Err(error) => self.failure = Some(error),
            }
        }
        Ok(Some(frames))
    }
}

async fn read(mut stream: EventStream, batches: mpsc::Sender<Batch>) {
    let room = Arc::new(Semaphore::new(MAX_BYTES as usize));
    loop {
        let frames = match stream.next_batch().await {
            Ok(None) => return,
            Ok(Some(frames)) => Ok(frames),
            Err(error) => Err(error),
        };
        let size = frames.iter().flatten().map(|frame| frame.data.len()).sum::<usize>();
        let size = u32::try_from(size).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let permit = Arc::clone(&room).acquire_many_owned(size).await.ok();
        let is_over = frames.is_err();
        if batches.send(Batch { frames, _room: permit }).await.is_err() || is_over {
            return;
        }
    }
}
