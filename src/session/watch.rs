//! Waits that no peer can stretch: one look every tick at all sessions of a worker, so that the hot path sets no timer.
//! Never ends anything itself: whoever waits too long is woken and decides.

use crate::config::Config;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How exact the limits are: a wait lasts up to two ticks longer than its limit.
pub const TICK: Duration = Duration::from_millis(250);

/// A wait of this many ticks is long enough to look after the peer that one waits for the sake of.
const TICKS_BEFORE_LOOK: u64 = 4;

/// A number of ticks.
pub type Ticks = u64;

/// The ticks of a worker, its limits, and everybody who waits by it.
pub struct Clock {
    now: Cell<Ticks>,
    /// `client.idle_ms_max`.
    pub idle_max: Ticks,
    /// `pool.hold_ms_max`.
    pub hold_max: Ticks,
    /// `client.stall_ms_max`.
    pub stall_max: Ticks,
    /// `backend.silence_ms_max`.
    pub silence_max: Ticks,
    watches: RefCell<Vec<Weak<Watch>>>,
}

impl Clock {
    /// A clock that stands at zero until it is told to tick.
    pub fn new(config: &Config) -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(0),
            idle_max: ticks(config.client.idle_ms_max),
            hold_max: ticks(config.pool.hold_ms_max),
            stall_max: ticks(config.client.stall_ms_max),
            silence_max: ticks(config.backend.silence_ms_max),
            watches: RefCell::default(),
        })
    }

    /// The tick it is.
    pub fn now(&self) -> Ticks {
        self.now.get()
    }

    /// One tick later: wakes those whose wait is over, and every second those who have somebody to look after.
    pub fn tick(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        self.watches.borrow_mut().retain(|watch| {
            let Some(watch) = watch.upgrade() else {
                return false;
            };
            if watch.until.get() <= now || watch.look_at.get() <= now {
                watch.wake();
            }
            true
        });
    }

    /// A watch for one session.
    pub fn watch(self: &Rc<Self>) -> Rc<Watch> {
        let watch = Rc::new(Watch {
            clock: self.clone(),
            until: Cell::new(Ticks::MAX),
            look_at: Cell::new(Ticks::MAX),
            waker: Cell::new(None),
        });
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }
}

/// Whole ticks, one more because the first one is already under way.
fn ticks(ms: u64) -> Ticks {
    ms.div_ceil(TICK.as_millis() as u64) + 1
}

/// The waits of one session: one at a time.
pub struct Watch {
    /// The clock it goes by.
    pub clock: Rc<Clock>,
    until: Cell<Ticks>,
    look_at: Cell<Ticks>,
    waker: Cell<Option<Waker>>,
}

/// Why a wait ended before what it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It took too long.
    Overdue,
    /// Whoever wanted the outcome has left.
    Pointless,
}

/// Ends a wait, also one that is dropped.
struct Waiting<'a>(&'a Watch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.until.set(Ticks::MAX);
        self.0.look_at.set(Ticks::MAX);
    }
}

impl Watch {
    /// Waits for `wait`, at most about `most` ticks. Polls it first each time, so that what is there is always taken.
    ///
    /// # Errors
    /// `Overdue`; what was waited for is dropped then.
    pub async fn limit<T>(&self, most: Ticks, wait: impl Future<Output = T>) -> Result<T, Cut> {
        self.until.set(self.clock.now().saturating_add(most));
        let _waiting = Waiting(self);
        let mut wait = pin!(wait);
        poll_fn(|context| match wait.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.is_overdue() => Poll::Ready(Err(Cut::Overdue)),
            Poll::Pending => self.wait(context),
        })
        .await
    }

    /// As [`limit`](Self::limit), and asks about once a second whether there is still a point in waiting.
    ///
    /// # Errors
    /// `Overdue` or `Pointless`.
    pub async fn limit_while<T>(
        &self,
        most: Ticks,
        wait: impl Future<Output = T>,
        has_a_point: impl Fn() -> bool,
    ) -> Result<T, Cut> {
        self.until.set(self.clock.now().saturating_add(most));
        self.look_at.set(self.clock.now() + TICKS_BEFORE_LOOK);
        let _waiting = Waiting(self);
        let mut wait = pin!(wait);
        poll_fn(|context| match wait.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.is_overdue() => Poll::Ready(Err(Cut::Overdue)),
            Poll::Pending if self.look_at.get() <= self.clock.now() => {
                self.look_at.set(self.clock.now() + TICKS_BEFORE_LOOK);
                match has_a_point() {
                    true => self.wait(context),
                    false => Poll::Ready(Err(Cut::Pointless)),
                }
            }
            Poll::Pending => self.wait(context),
        })
        .await
    }

    fn is_overdue(&self) -> bool {
        self.until.get() <= self.clock.now()
    }

    fn wait<T>(&self, context: &Context<'_>) -> Poll<T> {
        let known = self
            .waker
            .take()
            .filter(|known| known.will_wake(context.waker()));
        self.waker
            .set(Some(known.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn clock() -> Rc<Clock> {
        Clock::new(&Config::default())
    }

    /// Ticks until the wait ends; how many ticks that took and how often it was woken.
    fn run<T>(clock: &Clock, wait: impl Future<Output = T>) -> (T, u64, usize) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        let (mut wait, start) = (pin!(wait), clock.now());
        let mut context = Context::from_waker(&waker);
        let mut woken = 0;
        loop {
            if let Poll::Ready(done) = wait.as_mut().poll(&mut context) {
                return (done, clock.now() - start, woken);
            }
            while count.0.load(Relaxed) == woken {
                assert!(clock.now() - start < 1_000, "never woken");
                clock.tick();
            }
            woken = count.0.load(Relaxed);
        }
    }

    #[test]
    fn what_is_there_is_taken_whatever_the_time() {
        let (clock, watch) = (clock(), clock().watch());
        assert_eq!(run(&clock, watch.limit(0, ready(7))).0, Ok(7));
    }

    #[test]
    fn a_wait_ends_at_its_limit_and_wakes_nobody_before() {
        let clock = clock();
        let watch = clock.watch();
        let wait = watch.limit(9, pending::<()>());
        assert_eq!(run(&clock, wait), (Err(Cut::Overdue), 9, 1));
        // A second one on the same watch starts anew.
        let wait = watch.limit(3, pending::<()>());
        assert_eq!(run(&clock, wait), (Err(Cut::Overdue), 3, 1));
    }

    #[test]
    fn a_wait_without_a_point_ends_when_that_is_seen() {
        let clock = clock();
        let watch = clock.watch();
        let asked = Cell::new(0);
        let twice = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        let wait = watch.limit_while(100, pending::<()>(), twice);
        assert_eq!(
            run(&clock, wait),
            (Err(Cut::Pointless), 3 * TICKS_BEFORE_LOOK, 3)
        );
        let wait = watch.limit_while(10, pending::<()>(), || true);
        assert_eq!(run(&clock, wait).0, Err(Cut::Overdue));
    }

    #[test]
    fn who_waits_no_more_is_forgotten() {
        let clock = clock();
        let watch = clock.watch();
        drop(watch.limit(1, pending::<()>()));
        clock.tick();
        clock.tick();
        assert!(!watch.is_overdue());
        drop(watch);
        clock.tick();
        assert!(clock.watches.borrow().is_empty());
    }

    #[test]
    fn limits_are_never_shorter_than_said() {
        assert_eq!((ticks(0), ticks(1), ticks(250), ticks(251)), (1, 2, 2, 3));
    }
}
