//! The bare forwarder that the proxy is measured against: bytes between two sockets on one thread, nothing known of them.
//! `floor LISTEN_PORT BACKEND_PORT`. What Tidegate costs on top of this is the price of what it knows.

use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BUFFER_BYTES: usize = 16_384;

async fn forward(mut client: TcpStream, backend_port: u16) -> std::io::Result<()> {
    let mut backend = TcpStream::connect((Ipv4Addr::LOCALHOST, backend_port)).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let mut from_backend = vec![0u8; BUFFER_BYTES];
    let mut from_client = vec![0u8; BUFFER_BYTES];
    loop {
        tokio::select! {
            biased;
            read = backend.read(&mut from_backend) => match read? {
                0 => return Ok(()),
                n => client.write_all(&from_backend[..n]).await?,
            },
            read = client.read(&mut from_client) => match read? {
                0 => return Ok(()),
                n => backend.write_all(&from_client[..n]).await?,
            },
        }
    }
}

/// Runs the forwarder until the process is ended.
pub fn run(listen_port: u16, backend_port: u16) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen_port)).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(forward(client, backend_port));
        }
    })
}
