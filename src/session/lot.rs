//! The sessions of one worker that hold a backend connection and could give it up: whoever has to wait for one finds them here.
//! Takes nothing away: a session is asked, and leaves its connection itself.

use crate::analytics::SessionInfo;
use crate::backend::nodes::NodeId;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A session's entry.
pub struct Seat {
    info: Arc<SessionInfo>,
    /// Since when it has rested on its connection with nothing that ties it there, as a number that grows; 0: it does not.
    resting: Cell<u64>,
    wanted: Cell<bool>,
    /// Where its connection leads to.
    node: Cell<NodeId>,
}

impl Seat {
    /// The entry of a session.
    pub fn new(info: Arc<SessionInfo>) -> Rc<Self> {
        Rc::new(Self {
            info,
            resting: Cell::new(0),
            wanted: Cell::new(false),
            node: Cell::new(NodeId::FIRST),
        })
    }

    /// Somebody wants its connection; answered once.
    pub fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    /// It works, or is tied.
    pub fn busy(&self) {
        self.resting.set(0);
    }
}

/// All of a worker.
#[derive(Default)]
pub struct Lot {
    seats: RefCell<Vec<Rc<Seat>>>,
    turn: Cell<u64>,
}

impl Lot {
    /// The session has got a connection to this server.
    pub fn enter(&self, seat: &Rc<Seat>, node: NodeId) {
        seat.busy();
        seat.node.set(node);
        seat.wanted.set(false);
        self.seats.borrow_mut().push(seat.clone());
    }

    /// It has none any more.
    pub fn leave(&self, seat: &Rc<Seat>) {
        let mut seats = self.seats.borrow_mut();
        if let Some(at) = seats.iter().position(|other| Rc::ptr_eq(other, seat)) {
            seats.swap_remove(at);
        }
    }

    /// The session has nothing to do and nothing ties it.
    pub fn rests(&self, seat: &Seat) {
        self.turn.set(self.turn.get() + 1);
        seat.resting.set(self.turn.get());
    }

    /// Asks up to `count` sessions for their connections to a server, those that have rested longest first.
    pub fn ask(&self, node: NodeId, count: usize) {
        let seats = self.seats.borrow();
        let seats = || seats.iter().filter(|seat| seat.node.get() == node);
        let mut resting: Vec<_> = seats()
            .filter(|seat| seat.resting.get() > 0 && !seat.wanted.get())
            .collect();
        let asked_already = seats().filter(|seat| seat.wanted.get()).count();
        resting.sort_unstable_by_key(|seat| seat.resting.get());
        for seat in resting
            .into_iter()
            .take(count.saturating_sub(asked_already))
        {
            seat.wanted.set(true);
            seat.info.wake();
        }
    }
}
