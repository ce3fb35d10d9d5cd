//! Accepts clients, refuses those beyond the limit at once, and gives each to the worker with the fewest.
//! Never reads a byte from a client.

use crate::protocol::response::ErrPacket;
use crate::shutdown::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

/// Pause after a failed accept (no file descriptor left, most often): the backlog holds the client meanwhile.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Clients of the admin port that are let in when all places are taken: somebody must be able to see why.
const ADMINS_BEYOND: usize = 8;

/// Which door a client came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// The app port.
    App,
    /// The admin port.
    Admin,
}

/// A client that was accepted and counted.
pub struct Incoming {
    /// Its socket, not yet registered with any reactor.
    pub socket: std::net::TcpStream,
    /// Its address.
    pub peer: SocketAddr,
    /// The door it came through.
    pub entrance: Entrance,
    /// Counts it until it is gone.
    pub place: Place,
}

/// One client's place in the counts; given back when dropped.
pub struct Place {
    total: Arc<AtomicUsize>,
    worker: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.total.fetch_sub(1, Relaxed);
        self.worker.fetch_sub(1, Relaxed);
    }
}

/// How to reach one worker.
#[derive(Clone)]
pub struct WorkerHandle {
    /// Takes new clients. Unbounded, but never holds more than `listen.clients_max` in all.
    pub clients: UnboundedSender<Incoming>,
    /// Clients it has.
    pub load: Arc<AtomicUsize>,
}

/// Counts of the door, for metrics.
#[derive(Debug, Default)]
pub struct DoorCounters {
    /// Clients connected now.
    pub clients: Arc<AtomicUsize>,
    /// Clients accepted since start.
    pub accepted_total: AtomicU64,
    /// Clients refused because `listen.clients_max` was reached.
    pub refused_total: AtomicU64,
    /// Failed accepts.
    pub accept_errors_total: AtomicU64,
}

/// The accept loop of one listener.
pub struct Acceptor {
    /// Where clients arrive.
    pub listener: TcpListener,
    /// The door this is.
    pub entrance: Entrance,
    /// Who serves them.
    pub workers: Vec<WorkerHandle>,
    /// Clients allowed at once over all doors.
    pub clients_max: usize,
    /// What happened at the doors.
    pub counters: Arc<DoorCounters>,
}

impl Acceptor {
    /// Accepts until the stop signal.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.requested() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(error) => {
                    self.counters.accept_errors_total.fetch_add(1, Relaxed);
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        self.counters.accepted_total.fetch_add(1, Relaxed);
        let clients = self.counters.clients.fetch_add(1, Relaxed);
        let beyond = match self.entrance {
            Entrance::App => 0,
            Entrance::Admin => ADMINS_BEYOND,
        };
        if clients >= self.clients_max + beyond {
            self.counters.clients.fetch_sub(1, Relaxed);
            self.counters.refused_total.fetch_add(1, Relaxed);
            return refuse(&socket);
        }
        let Some(worker) = self.workers.iter().min_by_key(|w| w.load.load(Relaxed)) else {
            return;
        };
        worker.load.fetch_add(1, Relaxed);
        let place = Place {
            total: self.counters.clients.clone(),
            worker: worker.load.clone(),
        };
        match prepare(socket) {
            Ok(socket) => {
                let incoming = Incoming {
                    socket,
                    peer,
                    entrance: self.entrance,
                    place,
                };
                // A worker that is gone is a stop in progress: the socket closes with the message.
                let _ = worker.clients.send(incoming);
            }
            Err(error) => tracing::debug!(%error, "client lost while being accepted"),
        }
    }
}

fn prepare(socket: TcpStream) -> io::Result<std::net::TcpStream> {
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10));
    socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.into_std()
}

/// Says 1040 if the socket takes it at once; a client that does not read is not waited for.
fn refuse(socket: &TcpStream) {
    let mut out = Vec::with_capacity(64);
    ErrPacket::new(1040, b"08004", b"Too many connections (listen.clients_max)")
        .write_without_state(&mut out, &mut 0);
    let _ = socket.try_write(&out);
}
