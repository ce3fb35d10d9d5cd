//! Where log lines go: stderr, as lines for people or JSON for machines. Set up once; decides nothing about content.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Log, LogFormat};

/// Starts logging for the process, and logs panics as errors.
///
/// # Errors
/// When logging was started before.
pub fn start(log: &Log) -> Result<(), tracing_subscriber::util::TryInitError> {
    // The level was checked when the configuration was; a directive that is refused here is left out.
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Human => {
            let lines = lines
                .with_ansi(std::io::stderr().is_terminal())
                .with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            let _ = SET_LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
        }
        LogFormat::Json => {
            let lines = lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            let _ = SET_LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
        }
    }
    log_panics();
    Ok(())
}

/// Puts another filter in the place of the one that log lines go through now.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// There is one log in a process.
static SET_LEVEL: OnceLock<SetFilter> = OnceLock::new();

/// Lines of these levels are logged from now on: the value of `log.level`.
pub fn set_level(level: &str) {
    if let Some(set) = SET_LEVEL.get() {
        set(EnvFilter::builder().parse_lossy(level));
    }
}

/// A panic is a bug of ours: it is logged like everything else, with its place, beside what the default hook prints.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panic: this is a bug in Tidegate");
        before(panic);
    }));
}
