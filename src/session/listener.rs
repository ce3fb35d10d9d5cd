//! Accepts clients, refuses those beyond the limit at once, and gives each to the worker with the fewest.
//! Never reads a byte from a client.

use crate::analytics::peer::Peer;
use crate::backend::stream::Stream;
use crate::backend::target::spare_pacing;
use crate::config::Network;
use crate::protocol::response::ErrPacket;
use crate::shutdown::Shutdown;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
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
    /// Its socket.
    pub socket: Socket,
    /// Where it is.
    pub peer: Peer,
    /// The door it came through.
    pub entrance: Entrance,
    /// Counts it until it is gone.
    pub place: Place,
}

/// A client's socket, not yet registered with any reactor.
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// The stream, on the reactor of the caller.
    ///
    /// # Errors
    /// The system's.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => Stream::Tcp(TcpStream::from_std(socket)?),
            Self::Unix(socket) => Stream::Unix(UnixStream::from_std(socket)?),
        })
    }
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

/// Where clients arrive.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, and its file.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket of ours; gone when dropped, unless it is another's by then.
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on a Unix socket. A socket that nobody listens on any more is replaced; anything else in its place is not touched.
    ///
    /// # Errors
    /// Somebody listens there, it is no socket, or the system's.
    pub fn unix(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Err(_) => {}
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other("there is something else than a socket"));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Err(error) => return Err(error),
                Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            },
        }
        let listener = UnixListener::bind(path)?;
        let file = SocketFile {
            path: path.to_owned(),
            inode: fs::symlink_metadata(path)?.ino(),
        };
        // As mysqld's: everybody may knock, and proves who he is.
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        Ok(Self::Unix(listener, file))
    }

    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                Ok((Accepted::Tcp(socket), Peer::At(address)))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Accepted::Unix(socket), Peer::Local))
            }
        }
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The accept loop of one listener.
pub struct Acceptor {
    /// Where clients arrive.
    pub listener: Listener,
    /// The door this is.
    pub entrance: Entrance,
    /// Who serves them.
    pub workers: Vec<WorkerHandle>,
    /// Clients allowed at once over all doors.
    pub clients_max: usize,
    /// Networks of proxies that say for whom they connect.
    pub proxies: Arc<[Network]>,
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

    /// The same peer as one that has still to say where its client is, if it is such a proxy.
    fn proxied(&self, peer: Peer) -> Peer {
        match peer {
            Peer::At(address) if self.proxies.iter().any(|n| n.contains(address.ip())) => {
                Peer::Behind(address)
            }
            peer => peer,
        }
    }

    fn admit(&self, socket: Accepted, peer: Peer) {
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
                let peer = self.proxied(peer);
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

fn prepare(socket: Accepted) -> io::Result<Socket> {
    let socket = match socket {
        Accepted::Tcp(socket) => socket,
        Accepted::Unix(socket) => return Ok(Socket::Unix(socket.into_std()?)),
    };
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10));
    socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    spare_pacing(&socket);
    Ok(Socket::Tcp(socket.into_std()?))
}

/// Says 1040 if the socket takes it at once; a client that does not read is not waited for.
fn refuse(socket: &Accepted) {
    let mut out = Vec::with_capacity(64);
    ErrPacket::new(1040, b"08004", b"Too many connections (listen.clients_max)")
        .write_without_state(&mut out, &mut 0);
    let _ = match socket {
        Accepted::Tcp(socket) => socket.try_write(&out),
        Accepted::Unix(socket) => socket.try_write(&out),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_replaced_only_when_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Listener::unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        let taken = Listener::unix(&path).err().map(|error| error.kind());
        assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
        drop(first);
        assert!(!path.exists());
        // As a process leaves it that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let second = Listener::unix(&path).unwrap();
        // Another one's by now.
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(second);
        assert!(path.exists());
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(Listener::unix(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert!(Listener::unix(&folder.path().join("x".repeat(200))).is_err());
        assert!(Listener::unix(&folder.path().join("none/socket")).is_err());
    }
}
