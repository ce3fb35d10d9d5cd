//! The `tidegate` program: arguments, logging, configuration, then `server::run`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tidegate::config::cli::{Cli, Command, Serve};
use tidegate::config::load::{Sources, load, overlay};
use tidegate::config::{ConfigError, RUNTIME_FILE, logging, reference};
use tidegate::router::rules::Active;
use tidegate::server;

/// Ended by a fault at run time.
const FAILED: u8 = 1;
/// The command line or the configuration cannot be used; what clap ends with, too.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::CheckConfig { file } => check_config(&file),
        Command::Keys { prefix } => keys(&prefix),
    }
}

fn serve(arguments: &Serve) -> ExitCode {
    let loaded = match arguments.load() {
        Ok(loaded) => loaded,
        Err(mistakes) => return refuse(&mistakes),
    };
    let written = loaded.config;
    let config = match overlay(&written, &written.data_dir().join(RUNTIME_FILE)) {
        Ok(saved) => saved.unwrap_or_else(|| written.clone()),
        Err(mistakes) => return refuse(&mistakes),
    };
    if let Err(why) = logging::start(&config.log) {
        eprintln!("tidegate: logging cannot be started: {why}");
        return ExitCode::from(FAILED);
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match server::run(Arc::new(config), &written) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot serve");
            ExitCode::from(FAILED)
        }
    }
}

fn check_config(file: &Path) -> ExitCode {
    match load(&Sources {
        file: Some(file),
        ..Sources::default()
    }) {
        Ok(loaded) => {
            if let Err((at, mistake)) = Active::check(&loaded.config.rules) {
                let name = loaded.config.rules.get(at).map_or("", |rule| &rule.name);
                eprintln!(
                    "{}: rule {name}: {} {}",
                    file.display(),
                    mistake.field,
                    mistake.what
                );
                return ExitCode::from(MISUSED);
            }
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            if !loaded.config.backend.url.is_set() {
                eprintln!(
                    "note: no backend is named in the file; serve will need --backend or TIDEGATE_BACKEND_URL"
                );
            }
            println!("{}: no mistakes", file.display());
            ExitCode::SUCCESS
        }
        Err(mistakes) => refuse(&mistakes),
    }
}

fn keys(prefix: &str) -> ExitCode {
    let page = reference::page(prefix);
    if page.is_empty() {
        eprintln!("tidegate: no key begins with {prefix:?}; `tidegate keys` prints them all");
        return ExitCode::from(MISUSED);
    }
    // A reader that has seen enough (`| head`) is no fault.
    let _ = std::io::stdout().write_all(page.as_bytes());
    ExitCode::SUCCESS
}

/// Says everything that is wrong with the configuration.
fn refuse(error: &ConfigError) -> ExitCode {
    let count = error.mistakes.len();
    let mistakes = if count == 1 { "mistake" } else { "mistakes" };
    eprintln!("{error}\ntidegate: {count} {mistakes} in the configuration");
    ExitCode::from(MISUSED)
}
