//! Which proxy builds: the holder of a named lock on a connection that is kept. The others build nothing. Also what the
//! leader keeps on the backend: its schema, the list of its views, and the removal of what a dead leader left.
//!
//! View numbers come from an AUTO_INCREMENT that is never reset, so that a storage table's name never stands for two
//! definitions: a proxy that lost the lock without noticing can at worst read a table that is gone.

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::connection::{Link, SHORT, ViewsError};
use super::definition::Definition;
use super::storage::{TABLE_COMMENT, literal, parse_storage_name, quoted};
use crate::backend::control::Control;
use crate::binlog::Binlog;

/// Longest wait for one look at the lock.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The lock and the connection that holds it.
pub struct Leader {
    control: Arc<Control>,
    binlog: Arc<Binlog>,
    lock: String,
    schema: String,
    link: Option<Link>,
}

/// A row of the list of views on the backend.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// The view's number.
    pub id: u64,
    /// Its present build.
    pub generation: u64,
    /// `building`, `ready`, `stale` ..
    pub state: &'static str,
    /// Groups stored.
    pub rows: u64,
    /// Why it is in this state.
    pub reason: &'a str,
}

impl Leader {
    /// Holds nothing yet.
    pub fn new(control: Arc<Control>, binlog: Arc<Binlog>, schema: &str) -> Self {
        Self {
            control,
            binlog,
            lock: format!("tidegate_views_{:032x}", xxh3_128(schema.as_bytes())),
            schema: schema.to_owned(),
            link: None,
        }
    }

    /// Takes the lock, or makes sure that it is still held; `Ok(true)` when this call took it.
    ///
    /// # Errors
    /// `Stopped` when another holds it; else as the server or the connection said. Afterwards nothing is held.
    pub async fn hold(&mut self) -> Result<bool, ViewsError> {
        let looked = self.look().await;
        if looked.is_err() {
            self.link = None;
        }
        looked
    }

    async fn look(&mut self) -> Result<bool, ViewsError> {
        let lock = literal(&self.lock);
        if let Some(link) = &mut self.link {
            if self.binlog.is_of_another(Some(link.server_uuid())) {
                return Err(ViewsError::OtherServer);
            }
            let sql = format!("SELECT IS_USED_LOCK({lock}) <=> CONNECTION_ID()");
            return match link.number(&sql, LOOK_MAX).await? {
                1 => Ok(false),
                _ => Err(ViewsError::Stopped),
            };
        }
        let mut link = self.connect().await?;
        let sql = format!("SELECT IFNULL(GET_LOCK({lock}, 0), 0)");
        if link.number(&sql, LOOK_MAX).await? != 1 {
            link.close().await;
            return Err(ViewsError::Stopped);
        }
        self.link = Some(link);
        Ok(true)
    }

    /// A connection of our own to the backend, outside any pool.
    ///
    /// # Errors
    /// When the backend cannot be reached, or is known to be another server than the one whose log is read.
    pub async fn connect(&self) -> Result<Link, ViewsError> {
        let link = connect(&self.control).await?;
        match self.binlog.is_of_another(Some(link.server_uuid())) {
            true => Err(ViewsError::OtherServer),
            false => Ok(link),
        }
    }

    /// Drops storage tables that a leader before us left, and empties its list: nothing that was built under another lock is trusted.
    /// Returns the names of what could not be dropped yet. Makes nothing: a server on which no view is wanted stays as it is.
    ///
    /// # Errors
    /// As the server said, most likely a lacking privilege.
    pub async fn set_up(&mut self, link: &mut Link) -> Result<Vec<String>, ViewsError> {
        link.run("SET SESSION lock_wait_timeout=1", SHORT).await?;
        let mut left = Vec::new();
        for table in self.orphans(link).await? {
            let dropped = link
                .run(&format!("DROP TABLE IF EXISTS {table}"), SHORT)
                .await;
            match dropped {
                Ok(_) => tracing::info!(table, "dropped a view's storage left by an earlier run"),
                Err(error) if error.is_lock() => left.push(table),
                Err(error) => return Err(error),
            }
        }
        if self.has_list(link).await? {
            let sql = format!("DELETE FROM {}.`views`", quoted(&self.schema));
            link.run(&sql, SHORT).await?;
        }
        Ok(left)
    }

    /// Whether some leader has made the list.
    async fn has_list(&self, link: &mut Link) -> Result<bool, ViewsError> {
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA={} AND TABLE_NAME='views'",
            literal(&self.schema)
        );
        Ok(link.number(&sql, SHORT).await? > 0)
    }

    /// Tables in our schema that carry our comment and the name of a storage table, quoted.
    async fn orphans(&self, link: &mut Link) -> Result<Vec<String>, ViewsError> {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA={} AND TABLE_COMMENT={}",
            literal(&self.schema),
            literal(TABLE_COMMENT)
        );
        let rows = link.texts(&sql, SHORT).await?;
        Ok(rows
            .into_iter()
            .flatten()
            .flatten()
            .filter(|name| parse_storage_name(name).is_some())
            .map(|name| format!("{}.{}", quoted(&self.schema), quoted(&name)))
            .collect())
    }

    /// Gives the lock up.
    pub async fn release(&mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

/// The list of views on the backend: for people, and for the numbers it hands out.
#[derive(Debug, Clone)]
pub struct List {
    schema: String,
}

impl List {
    /// The list in this schema.
    pub fn new(schema: &str) -> Self {
        Self {
            schema: schema.to_owned(),
        }
    }

    /// Lists a new view and returns its number. The schema and the list are made with the first.
    ///
    /// # Errors
    /// As the server said, most likely a lacking privilege.
    pub async fn list(&self, link: &mut Link, definition: &Definition) -> Result<u64, ViewsError> {
        let schema = quoted(&self.schema);
        link.run(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"), SHORT)
            .await?;
        link.run(&list_sql(&self.schema), SHORT).await?;
        let sql = format!(
            "INSERT INTO {}.`views` (fingerprint, base_schema, base_table, definition, state) \
             VALUES (X'{:032x}', {}, {}, {}, 'building')",
            quoted(&self.schema),
            definition.fingerprint(),
            literal(&definition.base.schema),
            literal(&definition.base.name),
            literal(&describe(definition))
        );
        link.run(&sql, SHORT).await?;
        link.number("SELECT LAST_INSERT_ID()", SHORT).await
    }

    /// Notes the present state of a view.
    ///
    /// # Errors
    /// As the server said.
    pub async fn note(&self, link: &mut Link, row: &Listed<'_>) -> Result<(), ViewsError> {
        let reason: String = row.reason.chars().take(500).collect();
        let sql = format!(
            "UPDATE {}.`views` SET generation={}, state={}, rows_stored={}, reason={} WHERE id={}",
            quoted(&self.schema),
            row.generation,
            literal(row.state),
            row.rows,
            literal(&reason),
            row.id
        );
        link.run(&sql, SHORT).await.map(drop)
    }

    /// Takes a view off the list.
    ///
    /// # Errors
    /// As the server said.
    pub async fn strike(&self, link: &mut Link, id: u64) -> Result<(), ViewsError> {
        let sql = format!("DELETE FROM {}.`views` WHERE id={id}", quoted(&self.schema));
        link.run(&sql, SHORT).await.map(drop)
    }
}

/// A connection of our own to the backend, outside any pool.
///
/// # Errors
/// When the backend cannot be reached.
pub async fn connect(control: &Control) -> Result<Link, ViewsError> {
    match control.dedicated().await {
        Ok(conn) => Link::new(conn).await,
        Err(error) => Err(ViewsError::Connection(error.to_string())),
    }
}

/// The same, to the very server whose log is read now: for work that the log has to prove.
///
/// # Errors
/// When the backend cannot be reached, is another server, or its log cannot be read now.
pub async fn connect_to_log(control: &Control, binlog: &Binlog) -> Result<Link, ViewsError> {
    let link = connect(control).await?;
    match binlog.server_uuid() {
        Some(uuid) if uuid == link.server_uuid() => Ok(link),
        _ => Err(ViewsError::OtherServer),
    }
}

fn list_sql(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.`views` (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  fingerprint BINARY(16) NOT NULL,
  base_schema VARCHAR(64) NOT NULL,
  base_table VARCHAR(64) NOT NULL,
  definition TEXT NOT NULL,
  generation BIGINT UNSIGNED NOT NULL DEFAULT 0,
  state VARCHAR(16) NOT NULL,
  rows_stored BIGINT UNSIGNED NOT NULL DEFAULT 0,
  reason VARCHAR(500) NOT NULL DEFAULT '',
  changed_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (id)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COMMENT='Tidegate: the views of the leading proxy; numbers are never used twice'",
        quoted(schema)
    )
}

/// A definition as a person reads it: the GROUP BY statement it stands for.
pub fn describe(definition: &Definition) -> String {
    let keys: Vec<&str> = definition
        .keys
        .iter()
        .map(|key| key.expression.as_str())
        .collect();
    let measures = definition.measures.iter().map(|m| {
        format!(
            "{}({})",
            m.function.sql(),
            m.argument.as_deref().unwrap_or("*")
        )
    });
    let select: Vec<String> = keys
        .iter()
        .map(|key| (*key).to_owned())
        .chain(measures)
        .collect();
    let mut text = format!(
        "SELECT {} FROM {}",
        select.join(", "),
        super::storage::base_sql(&definition.base)
    );
    if !keys.is_empty() {
        text.push_str(" GROUP BY ");
        text.push_str(&keys.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::definition::{BaseTable, MeasureFunction, ViewEnv};

    #[test]
    fn a_definition_reads_as_its_query() {
        let definition = Definition::new(
            BaseTable {
                schema: "shop".into(),
                name: "orders".into(),
            },
            ["`kind`".to_owned()],
            [(MeasureFunction::Sum, Some("`amount`".to_owned()))],
            ViewEnv::default(),
        );
        assert_eq!(
            describe(&definition),
            "SELECT `kind`, COUNT(*), COUNT(`amount`), SUM(`amount`) FROM `shop`.`orders` GROUP BY `kind`"
        );
    }

    #[test]
    fn lock_names_fit_the_server() {
        let control = Control::new(crate::backend::control::ControlSettings::new(
            crate::config::Backend::default(),
            1,
        ));
        let binlog = Binlog::unavailable(crate::binlog::Unavailable::Disabled);
        let long = "s".repeat(64);
        assert!(
            Leader::new(Arc::clone(&control), Arc::clone(&binlog), &long)
                .lock
                .len()
                <= 64
        );
        assert_ne!(
            Leader::new(Arc::clone(&control), Arc::clone(&binlog), "a").lock,
            Leader::new(control, binlog, "b").lock
        );
    }
}
