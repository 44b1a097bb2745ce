//! What is on the operator's desk: pure, no I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use service::protocol::OrderId;
use service::protocol::cluster::{ClusterReport, Order, OrderResult};
use tokio::sync::oneshot;

/// A report, and when it came in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) report: Arc<ClusterReport>,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) seen: Option<Seen>,
    /// Orders that the operator has not come for.
    orders: VecDeque<Order>,
    /// Those who wait for the result of an order, whether the operator has it or not.
    calls: HashMap<OrderId, oneshot::Sender<OrderResult>>,
}

impl State {
    /// Keeps a report, and tells those who wait what came of their orders.
    pub(super) fn note(&mut self, mut report: ClusterReport, at: Instant) {
        for result in std::mem::take(&mut report.results) {
            // Whoever waited for it may have gone.
            if let Some(call) = self.calls.remove(&result.id) {
                let _ = call.send(result);
            }
        }
        self.seen = Some(Seen { report: Arc::new(report), at });
    }

    pub(super) fn place(&mut self, order: Order, done: oneshot::Sender<OrderResult>) {
        self.calls.insert(order.id, done);
        self.orders.push_back(order);
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// All orders that nobody has yet, oldest first.
    pub(super) fn hand_out(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders).into()
    }

    /// Forgets an order; whether it was still here.
    pub(super) fn withdraw(&mut self, id: OrderId) -> bool {
        self.calls.remove(&id);
        let before = self.orders.len();
        self.orders.retain(|order| order.id != id);
        self.orders.len() < before
    }
}

#[cfg(test)]
mod tests {
    use service::protocol::cluster::Action;

    use super::*;

    fn order() -> Order {
        Order { id: OrderId::random(), service: "git-pull".to_owned(), action: Action::Update }
    }

    #[test]
    fn an_order_is_handed_out_once_and_its_result_goes_to_who_waits() {
        let mut state = State::default();
        let (order, (done, mut result)) = (order(), oneshot::channel());
        state.place(order.clone(), done);
        assert_eq!(state.hand_out(), vec![order.clone()]);
        assert!(!state.has_orders() && state.hand_out().is_empty());
        let told = OrderResult { id: order.id, done: true, message: "done".to_owned() };
        let strange = OrderResult { id: OrderId::random(), ..told.clone() };
        let report =
            ClusterReport { results: vec![strange, told.clone()], ..ClusterReport::default() };
        state.note(report, Instant::now());
        assert_eq!(result.try_recv(), Ok(told));
    }

    #[test]
    fn an_order_that_is_taken_back_is_not_handed_out() {
        let mut state = State::default();
        let (order, (done, _result)) = (order(), oneshot::channel());
        state.place(order.clone(), done);
        assert!(state.withdraw(order.id));
        assert!(!state.withdraw(order.id));
        assert!(!state.has_orders() && state.hand_out().is_empty());
    }
}
