//! What tests and the demo need to run real servers: private MySQL and MariaDB servers, the built `tidegate`, free ports.
//! Owns every process and folder it makes and takes them down on every way out: drop, panic, exit, Ctrl-C, kill -9.
//! Never sleeps to synchronise: everything waits for a condition, with a deadline.
//!
//! How a test uses it:
//! ```ignore
//! let mysql = MySql::shared();                         // one server for the whole run: use a schema of your own in it
//! let schema = mysql.schema("orders");                 // a fresh empty schema, named uniquely
//! let own = MySql::start(&["--sync-binlog=0"]);        // a server of your own: may be killed, restarted, reconfigured
//! let gate = Tidegate::of(&own).set("views.repeat_count_min", "2").start();
//! let mut conn = gate.connect(&schema).await;          // mysql_async, as user `app`
//! let rows: Vec<(i64,)> = gate.admin("SELECT count FROM queries").await;
//! ```

// Each program that includes this uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod hostile;
pub mod mysql;
pub mod process;
pub mod raw;
pub mod tidegate;
pub mod tls;
pub mod topology;
pub mod wire;

pub use mysql::{APP_PASSWORD, APP_USER, MySql};
pub use process::wait_until;
pub use tidegate::Tidegate;
pub use topology::Topology;
