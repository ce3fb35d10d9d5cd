//! Every place that is listened on: opened first, so that a mistake is told before anything runs; then given its accept loop.

use super::{ServerError, system};
use crate::config::Config;
use crate::session::listener::{Acceptor, DoorCounters, Entrance, Listener, WorkerHandle};
use crate::shutdown::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};

/// Open, and nobody accepted yet.
pub(super) struct Listeners {
    clients: Vec<(Listener, Entrance)>,
    http: Option<TcpListener>,
}

impl Listeners {
    /// Opens all that the config names.
    ///
    /// # Errors
    /// Names the key.
    pub(super) fn open(config: &Config) -> Result<Self, ServerError> {
        let open = &config.listen;
        let tcp = |key, address| listen(key, address, open.backlog);
        let mut clients = vec![
            (Listener::Tcp(tcp("listen.app", open.app)?), Entrance::App),
            (
                Listener::Tcp(tcp("listen.admin", open.admin)?),
                Entrance::Admin,
            ),
        ];
        if !open.socket.as_os_str().is_empty() {
            let socket = Listener::unix(&open.socket).map_err(|error| ServerError::Socket {
                path: open.socket.clone(),
                error,
            })?;
            clients.push((socket, Entrance::App));
        }
        let http = match config.http.enabled {
            true => Some(tcp("listen.http", open.http)?),
            false => None,
        };
        Ok(Self { clients, http })
    }

    /// Starts accepting clients. What is left is for HTTP.
    ///
    /// # Errors
    /// The system does not know an address of ours.
    pub(super) fn start(
        self,
        config: &Config,
        workers: &[WorkerHandle],
        counters: &Arc<DoorCounters>,
        stop: &Shutdown,
    ) -> Result<Option<TcpListener>, ServerError> {
        let proxies: Arc<[_]> = config.listen.proxies().into();
        for (listener, entrance) in self.clients {
            match &listener {
                Listener::Tcp(listener) => {
                    let address = listener.local_addr().map_err(system("listener"))?;
                    tracing::info!(%address, ?entrance, "listening");
                }
                Listener::Unix(..) => {
                    tracing::info!(path = %config.listen.socket.display(), ?entrance, "listening");
                }
            }
            let acceptor = Acceptor {
                listener,
                entrance,
                workers: workers.to_vec(),
                clients_max: config.listen.clients_max,
                proxies: proxies.clone(),
                counters: counters.clone(),
            };
            tokio::spawn(acceptor.run(stop.clone()));
        }
        Ok(self.http)
    }
}

fn listen(
    key: &'static str,
    address: SocketAddr,
    backlog: u32,
) -> Result<TcpListener, ServerError> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    open().map_err(|error| ServerError::Listen {
        key,
        address,
        error,
    })
}
