//! What must hold on the server before its log may be trusted, asked in one round trip and judged. Each condition has a name.

use super::Unavailable;
use crate::backend::control::ControlError;
use crate::backend::probe::{
    Capabilities, Flavour, Precondition, Variables, pairs, parse_version, preconditions,
};
use crate::backend::wire::WireConn;

/// The answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) server_uuid: String,
    variables: Variables,
    preconditions: Vec<Precondition>,
}

/// Asks.
pub(super) async fn ask(conn: &mut WireConn) -> Result<Facts, ControlError> {
    let rows = conn
        .query(&format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_uuid', 'lower_case_table_names', \
             'binlog_checksum', {})",
            Precondition::variables()
        ))
        .await?;
    let variables = pairs(&rows);
    let get = |name: &str| variables.get(name).cloned().unwrap_or_default();
    Ok(Facts {
        version: get("version"),
        server_uuid: get("server_uuid"),
        preconditions: preconditions(&variables),
        variables,
    })
}

impl Facts {
    /// Whether the log may be trusted.
    pub(super) fn judge(&self) -> Result<(), (Unavailable, String)> {
        if self.version.to_ascii_lowercase().contains("mariadb") {
            return Err((Unavailable::NotMySql, self.version.clone()));
        }
        if self.server_uuid.is_empty() {
            return Err((Unavailable::NotMySql, "no server_uuid".into()));
        }
        let broken = self.preconditions.iter().find(|p| !p.holds);
        match broken {
            None => Ok(()),
            Some(p) => {
                let found = p.found.as_deref().unwrap_or("nothing");
                let detail = format!("{} is {found}, needed: {}", p.name, p.needed);
                Err((Unavailable::of_precondition(p.name), detail))
            }
        }
    }

    /// The statement that tells where the log ends.
    pub(super) fn status_sql(&self) -> &'static str {
        let capabilities = Capabilities {
            flavour: Flavour::MySql,
            version: parse_version(&self.version),
            ..Capabilities::default()
        };
        capabilities.log_status_statement()
    }

    /// Whether events carry a checksum before the first file head says so.
    pub(super) fn checksum(&self) -> bool {
        self.variables
            .get("binlog_checksum")
            .is_some_and(|alg| !alg.eq_ignore_ascii_case("NONE"))
    }

    /// Whether table names compare without case on the server.
    pub(super) fn exact_names(&self) -> bool {
        self.variables
            .get("lower_case_table_names")
            .is_some_and(|mode| mode != "0")
    }
}
