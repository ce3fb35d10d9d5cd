//! The command line: what `tidegate` can be asked, and `--help` for people. Reads arguments only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::load::{Loaded, Sources, load};
use super::{ConfigError, LogFormat, types::Choice};

/// A MySQL-wire proxy that answers repeated aggregates from exact views and keeps results that cannot have changed.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tidegate serve --backend mysql://tidegate:secret@127.0.0.1:3306
      Apps connect to 127.0.0.1:6033 instead of 127.0.0.1:3306, with their own users and passwords.
  TIDEGATE_BACKEND_PASSWORD=secret tidegate serve --config tidegate.toml
      As the file says, with the password from the environment.
  tidegate check-config tidegate.toml
      Every mistake in the file, with its line.
  mysql -h 127.0.0.1 -P 6032 -u admin -p tidegate
      The admin schema of a running Tidegate.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients until SIGTERM or SIGINT.
    #[command(after_help = SERVE_HELP)]
    Serve(Serve),
    /// Look for mistakes in a configuration file. Ends with 0 when there are none, with 2 when there are.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Print every configuration key with its meaning, default and allowed values, as a configuration file.
    Keys {
        /// Only the keys whose names begin so, as `pool` or `views.rows`.
        #[arg(default_value = "")]
        prefix: String,
    },
}

const SERVE_HELP: &str = "\
Arguments win over the environment, the environment over the file, the file over defaults.
Environment:
  TIDEGATE_BACKEND_PASSWORD  password for the backend's URL (not shown in the list of processes)
  TIDEGATE_BACKEND_URL       the whole URL
  TIDEGATE_ADMIN_PASSWORD    password of the admin port's user

The user in the URL is Tidegate's own: it watches the binary log and builds views. Apps keep using their own users.
Special characters of a password are percent-encoded: @ is %40, : is %3A, / is %2F, # is %23, % is %25.";

/// Arguments of `serve`.
#[derive(Debug, Args, Default)]
pub struct Serve {
    /// The server behind Tidegate, and Tidegate's own user there.
    #[arg(
        long,
        value_name = "URL",
        help = "The backend: mysql://USER:PASSWORD@HOST:PORT"
    )]
    pub backend: Option<String>,
    /// Configuration file (TOML); `tidegate keys` prints one with every key.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where apps connect [default: 127.0.0.1:6033].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where admins connect [default: 127.0.0.1:6032].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,
    /// Metrics, health and JSON [default: 127.0.0.1:6070].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,
    /// Directory for files of Tidegate's own [default: ~/.local/state/tidegate].
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,
    /// Lines for people or for machines [default: human].
    #[arg(long, value_name = "FORMAT", value_parser = LogFormat::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>())]
    pub log_format: Option<String>,
    /// error, warn, info, debug, trace, or a list such as info,tidegate::binlog=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Serve {
    /// The configuration that these arguments, the environment and the file make.
    ///
    /// # Errors
    /// Every mistake that was found.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.sources().with_environment())
    }

    /// What was said on the command line.
    pub fn sources(&self) -> Sources<'_> {
        let arguments = [
            ("--backend", "backend.url", &self.backend),
            ("--listen", "listen.app", &self.listen),
            ("--admin-listen", "listen.admin", &self.admin_listen),
            ("--http-listen", "listen.http", &self.http_listen),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        let given = arguments
            .into_iter()
            .filter_map(|(argument, key, value)| Some((argument, key, value.clone()?)));
        Sources {
            file: self.config.as_deref(),
            variables: Vec::new(),
            arguments: given.collect(),
            needs_backend: true,
        }
    }
}
