//! How far a pull has come, told at most ten times a second.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use service::protocol::event::AgentEvent;
use service::protocol::{Payload, Step};

/// Between two events of the same phase; leaves room for the last event of each phase within ten a
/// second.
const INTERVAL: Duration = Duration::from_millis(150);

/// Takes a job's events; cheap, never blocks.
pub(crate) type Emit = Arc<dyn Fn(Payload) + Send + Sync>;

/// What a pull does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Receiving,
    Resolving,
    Checkout,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Resolving => "resolving",
            Self::Checkout => "checkout",
        }
    }
}

/// A job's events, with progress held down to a bearable rate.
#[derive(Clone)]
pub(crate) struct Progress {
    emit: Emit,
    last: Arc<Mutex<Option<(Phase, Instant)>>>,
}

impl Progress {
    pub(crate) fn new(emit: Emit) -> Self {
        Self { emit, last: Arc::default() }
    }

    /// Says how far a phase has come, unless that was said just now. The end of a phase is always
    /// told.
    pub(crate) fn report(&self, phase: Phase, current: u64, total: u64, bytes: u64) {
        // Who finds it locked has nothing newer to say than the one who holds it.
        let Ok(mut last) = self.last.try_lock() else { return };
        let now = Instant::now();
        let is_soon = last.is_some_and(|(_, at)| now.duration_since(at) < INTERVAL);
        if is_soon && current < total {
            return;
        }
        *last = Some((phase, now));
        let phase = phase.name().to_owned();
        (self.emit)(Payload::Progress { step: Step::Pull, phase, current, total, bytes });
    }

    /// Remarks on something that ends nothing.
    pub(crate) fn notice(&self, code: &str, message: String) {
        (self.emit)(Payload::Agent(AgentEvent::Notice { code: code.to_owned(), message }));
    }
}

/// `3 submodules are …: a, b, c`: a count of things and the first few of them.
pub(crate) fn first_few(paths: &[String]) -> String {
    const FEW: usize = 5;
    let named = paths.iter().take(FEW).map(|path| format!("{path:?}")).collect::<Vec<_>>();
    let more = if paths.len() > FEW { ", …" } else { "" };
    format!("{}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_down_but_the_end_is_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        let progress = Progress::new(Arc::new(move |payload| kept.lock().unwrap().push(payload)));
        for current in 0..=100_000 {
            progress.report(Phase::Checkout, current, 100_000, 0);
        }
        let told = told.lock().unwrap();
        assert!(told.len() < 100, "{}", told.len());
        assert!(matches!(told.last(), Some(Payload::Progress { current: 100_000, .. })));
    }
}
