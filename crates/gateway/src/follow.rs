//! A job's events for one follower, from any position, without gaps or repeats.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;

use crate::gateway::Gateway;
use crate::job_ref::JobRef;
use crate::live::{News, Subscription};

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Before the job's first event, which the subscription will show.
    Start,
    /// After this event, which may be long ago.
    After(u64),
}

impl Gateway {
    /// The job's events up to its last one, or until the gateway stops.
    ///
    /// `subscription` was made before this: what it does not show is in the store by now. So is what a
    /// follower that is too slow misses, and what is too large to be kept for it.
    pub(crate) fn follow(
        self: &Arc<Self>,
        job: JobRef,
        from: From,
        mut subscription: Subscription,
    ) -> impl Stream<Item = Bytes> + Send + 'static {
        let gateway = Arc::clone(self);
        async_stream::stream! {
            let (mut position, mut is_behind) = match from {
                From::Start => (0, false),
                From::After(position) => (position, true),
            };
            loop {
                if is_behind {
                    let chunks = match gateway.store.events(job.row, position).await {
                        Ok(chunks) => chunks,
                        Err(error) => {
                            tracing::error!(%error, "cannot replay a job's events");
                            return;
                        }
                    };
                    is_behind = !chunks.is_empty();
                    for chunk in chunks {
                        let frames = chunk.after(position);
                        position = chunk.last;
                        let is_end = chunk.is_end;
                        drop(chunk);
                        yield frames;
                        if is_end {
                            return;
                        }
                    }
                    continue;
                }
                let next = tokio::select! {
                    next = subscription.next() => next,
                    () = gateway.stop.cancelled() => return,
                };
                match next {
                    Ok(News::Shown(chunk)) if chunk.last <= position => {}
                    Ok(News::Shown(chunk)) if chunk.first <= position + 1 => {
                        let frames = chunk.after(position);
                        position = chunk.last;
                        yield frames;
                        if chunk.is_end {
                            return;
                        }
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => is_behind = true,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }
}
