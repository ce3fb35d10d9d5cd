//! A queue whose waiters are all answered by one call, and only by a call that was issued after they arrived.
//! Knows nothing of MySQL.

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// The waiting side and the serving side of one coalesced call.
pub struct Line<Q, A> {
    waiting: Mutex<Vec<(Q, oneshot::Sender<A>)>>,
    arrived: Notify,
    waiters_max: usize,
}

/// The line is full; nothing was queued.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<Q, A> Line<Q, A> {
    /// A line for at most `waiters_max` waiters.
    pub fn new(waiters_max: usize) -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            arrived: Notify::new(),
            waiters_max,
        }
    }

    /// Joins the line. The receiver errs when the serving side is gone.
    ///
    /// # Errors
    /// `Full`.
    pub fn join(&self, question: Q) -> Result<oneshot::Receiver<A>, Full> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= self.waiters_max {
            // Those that gave up still stand in line until the next call is issued.
            waiting.retain(|(_, answer)| !answer.is_closed());
            if waiting.len() >= self.waiters_max {
                return Err(Full);
            }
        }
        waiting.push((question, answer));
        drop(waiting);
        self.arrived.notify_one();
        Ok(receiver)
    }

    /// Waits until somebody stands in line.
    pub async fn arrivals(&self) {
        loop {
            let arrived = self.arrived.notified();
            if !self.waiting.lock().is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Takes everybody who stands in line now. Call it immediately before issuing the call that answers them:
    /// whoever joins later is left for the next one.
    pub fn take(&self) -> Vec<(Q, oneshot::Sender<A>)> {
        let mut batch = std::mem::take(&mut *self.waiting.lock());
        batch.retain(|(_, answer)| !answer.is_closed());
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_answers_those_before_it_and_nobody_after() {
        let line: Line<u32, u32> = Line::new(10);
        let first = line.join(1).unwrap();
        let second = line.join(2).unwrap();
        line.arrivals().await;
        let batch = line.take();
        let late = line.join(3).unwrap();
        assert_eq!(batch.len(), 2);
        for (question, answer) in batch {
            answer.send(question * 10).unwrap();
        }
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (10, 20));
        line.arrivals().await;
        let batch = line.take();
        assert_eq!(batch.len(), 1);
        drop(batch);
        assert!(late.await.is_err());
    }

    #[test]
    fn the_line_is_bounded_and_forgets_those_who_left() {
        let line: Line<(), ()> = Line::new(2);
        let a = line.join(()).unwrap();
        let _b = line.join(()).unwrap();
        assert_eq!(line.join(()).unwrap_err(), Full);
        drop(a);
        let _c = line.join(()).unwrap();
        assert_eq!(line.take().len(), 2);
    }
}
