//! The listener of HTTP with its limits: so many connections, so much time without progress, so long a life.
//! Knows nothing of HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;

/// Pause after a failed accept: out of file descriptors, most often.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// Accepts when a place is free.
pub struct Listener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    limits: Limits,
}

impl Listener {
    /// All places free.
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(limits.connections_max.max(1))),
            limits,
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                // Nobody closes it; if it were closed there would be no places.
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let idle_max = Duration::from_millis(self.limits.idle_ms_max);
                    let connection = Connection {
                        stream,
                        idle_max,
                        idle: Box::pin(sleep(idle_max)),
                        until: Instant::now()
                            + Duration::from_millis(self.limits.connection_ms_max),
                        _place: place,
                    };
                    return (connection, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "HTTP: a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing moves on it for too long, or when it is too old.
pub struct Connection {
    stream: TcpStream,
    idle_max: Duration,
    idle: Pin<Box<Sleep>>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes a result on; a wait goes on only while there is time.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            let next = (Instant::now() + self.idle_max).min(self.until);
            self.idle.as_mut().reset(next);
            return polled;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.watched(cx, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watched(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
