//! One byte stream to a peer: plain TCP, a Unix socket, TLS over TCP, either with compressed packets, or an in-process pipe (the admin engine).
//! Owns no framing. An enum instead of a boxed trait, so that the relay's reads and writes stay direct calls.

use super::compression::{Algorithm, Compressed, Role};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected byte stream.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP, either side of it.
    Tls(Box<TlsStream<TcpStream>>),
    /// One of these with compressed packets.
    Compressed(Box<Compressed>),
    /// An in-process pipe.
    Pipe(DuplexStream),
}

impl Stream {
    /// Whether bytes on this stream are hidden from the network: TLS, or never on a network at all.
    pub fn is_secure(&self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Unix(_) | Stream::Tls(_) | Stream::Pipe(_) => true,
            Stream::Compressed(packed) => packed.inner().is_secure(),
        }
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        match self {
            Stream::Tls(_) => true,
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Pipe(_) => false,
            Stream::Compressed(packed) => packed.inner().is_tls(),
        }
    }

    /// Whether what was written may stay here until it is flushed.
    #[inline]
    pub fn is_buffered(&self) -> bool {
        matches!(self, Stream::Tls(_) | Stream::Compressed(_))
    }

    /// Goes on with compressed packets. `ahead` was read already.
    pub fn compress(&mut self, algorithm: Algorithm, role: Role, ahead: &[u8]) {
        let plain = std::mem::replace(self, Stream::Pipe(tokio::io::duplex(1).0));
        *self = Stream::Compressed(Box::new(Compressed::new(plain, algorithm, role, ahead)));
    }

    /// True when the peer is known to send nothing any more: it has closed, whatever of it is still unread.
    pub fn peer_has_left(&self) -> bool {
        use futures_util::FutureExt;
        let ready = match self {
            Stream::Tcp(tcp) => tcp.ready(Interest::READABLE).now_or_never(),
            Stream::Tls(tls) => tls.get_ref().0.ready(Interest::READABLE).now_or_never(),
            Stream::Unix(unix) => unix.ready(Interest::READABLE).now_or_never(),
            Stream::Compressed(packed) => return packed.inner().peer_has_left(),
            Stream::Pipe(_) => None,
        };
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// True when an idle peer has neither closed nor sent anything: the only state in which a pooled connection is usable.
    pub fn is_quiet(&self) -> bool {
        let socket = match self {
            Stream::Tcp(tcp) => socket2::SockRef::from(tcp),
            Stream::Tls(tls) => socket2::SockRef::from(tls.get_ref().0),
            Stream::Unix(unix) => socket2::SockRef::from(unix),
            Stream::Compressed(packed) => return packed.is_drained() && packed.inner().is_quiet(),
            Stream::Pipe(_) => return true,
        };
        // A raw peek asks the kernel, not the reactor's cached readiness, which may lag behind.
        let mut byte = [std::mem::MaybeUninit::<u8>::uninit()];
        let peeked = socket.peek(&mut byte);
        matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Compressed(s) => Pin::new(&mut **s).poll_read(cx, buf),
            Stream::Pipe(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Compressed(s) => Pin::new(&mut **s).poll_write(cx, buf),
            Stream::Pipe(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
            Stream::Compressed(s) => Pin::new(&mut **s).poll_flush(cx),
            Stream::Pipe(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Compressed(s) => Pin::new(&mut **s).poll_shutdown(cx),
            Stream::Pipe(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
