//! The `tidegate` program: arguments, logging, configuration, then `server::run`.

fn main() {
    tracing_subscriber::fmt().init();
    let url = std::env::args().nth(1).unwrap_or_default();
    let mut config = tidegate::config::Config::default();
    config.backend.url = url.parse().unwrap_or_default();
    if let Some(p) = std::env::args().nth(2).and_then(|p| p.parse::<u16>().ok()) {
        config.listen.app.set_port(p);
        config.listen.admin.set_port(p + 1);
    }
    if let Err(error) = tidegate::server::run(std::sync::Arc::new(config)) {
        tracing::error!(%error, "cannot start");
    }
}
