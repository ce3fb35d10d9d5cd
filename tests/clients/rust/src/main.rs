//! Client programs for Rust's drivers: `tidegate-clients sqlx|mysql_async`. Each prints what it sees, one line an observation, beginning
//! with `text` or `binary`; nothing that differs from run to run. Where and how to connect is in the environment: see
//! tests/clients/run. Knows nothing of the proxy.

mod by_mysql_async;
mod by_sqlx;
mod common;

#[tokio::main(worker_threads = 2)]
async fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("sqlx") => by_sqlx::main().await,
        Some("mysql_async") => by_mysql_async::main().await,
        _ => panic!("which driver?"),
    }
}
