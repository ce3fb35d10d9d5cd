//! Storage tables in a secondary engine (RAPID): load, check, unload, and the hints that choose the engine of one statement.
//! Never believes an OK alone, and never lets the server choose the engine by cost.
//!
//! Each ALTER takes an exclusive metadata lock; the session's short `lock_wait_timeout` bounds how long readers wait
//! behind it, and a lock wait is tried again a few times.

use std::time::Duration;

use super::connection::{Link, ViewsError};
use super::storage::literal;

/// Longest time of one load; a view has few rows.
const LOAD_MAX: Duration = Duration::from_secs(300);
/// Attempts of one ALTER that meets a metadata lock.
const ATTEMPTS_MAX: u32 = 5;
/// The server does not know the engine; it answers OK all the same.
const WARNING_UNKNOWN_ENGINE: u16 = 1286;
/// "Table has not been loaded", on unload.
const ERROR_NOT_LOADED: u16 = 3877;

/// Whether an error of a statement forced onto the secondary engine says that the engine cannot run it now. The same
/// statement may then run on InnoDB.
pub fn is_refusal(code: u16) -> bool {
    matches!(code, 3877 | 3889)
}

/// The engine a statement is to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The storage table's InnoDB copy, whatever the cost model thinks.
    InnoDb,
    /// The secondary engine or an error.
    Secondary,
}

/// The statement with a hint that fixes its engine. `None` when it does not start with SELECT.
pub fn hinted(sql: &[u8], engine: Engine) -> Option<Vec<u8>> {
    let rest = sql.strip_prefix(b"SELECT ")?;
    let mut hinted = match engine {
        Engine::InnoDb => b"SELECT /*+ SET_VAR(use_secondary_engine=OFF) */ ".to_vec(),
        Engine::Secondary => b"SELECT /*+ SET_VAR(use_secondary_engine=FORCED) */ ".to_vec(),
    };
    hinted.extend_from_slice(rest);
    Some(hinted)
}

/// Gives the storage table the engine and loads it. On any error call [`unload`].
///
/// # Errors
/// `Unsupported` when the server took the words but not the deed; else as the server said.
pub async fn load(
    link: &mut Link,
    schema: &str,
    name: &str,
    table: &str,
    engine: &str,
) -> Result<(), ViewsError> {
    if !plain_word(engine) {
        return Err(ViewsError::Unsupported(format!(
            "{engine:?} is no engine's name"
        )));
    }
    alter(
        link,
        &format!("ALTER TABLE {table} SECONDARY_ENGINE={engine}"),
    )
    .await?;
    alter(link, &format!("ALTER TABLE {table} SECONDARY_LOAD")).await?;
    let options = create_options(link, schema, name).await?;
    if !options.contains("SECONDARY_LOAD=\"1\"") {
        return Err(ViewsError::Unsupported(format!(
            "{engine} did not load the table (options: {options:?})"
        )));
    }
    Ok(())
}

/// Takes the table out of the engine and the engine off the table.
///
/// # Errors
/// As the server said; the table may still be in the engine, so it must not be used without a hint.
pub async fn unload(link: &mut Link, table: &str) -> Result<(), ViewsError> {
    match alter(link, &format!("ALTER TABLE {table} SECONDARY_UNLOAD")).await {
        // Not loaded, or no engine defined: nothing to unload.
        Err(ViewsError::Server { code, .. }) if code == ERROR_NOT_LOADED || code == 3889 => {}
        // The engine itself is gone, and the table's copy with it.
        Err(ViewsError::Unsupported(_)) => {}
        other => other?,
    }
    alter(link, &format!("ALTER TABLE {table} SECONDARY_ENGINE=NULL")).await
}

/// Runs one ALTER, reads its warnings, and tries again when another session holds the table.
async fn alter(link: &mut Link, sql: &str) -> Result<(), ViewsError> {
    let mut attempt = 1;
    loop {
        match link.run(sql, LOAD_MAX).await {
            Ok(ran) if ran.warnings == 0 => return Ok(()),
            Ok(_) => {
                let warnings = link.warnings().await?;
                return match warnings
                    .into_iter()
                    .find(|(code, _)| *code == WARNING_UNKNOWN_ENGINE)
                {
                    Some((_, words)) => Err(ViewsError::Unsupported(words)),
                    None => Ok(()),
                };
            }
            Err(error) if error.is_lock() && attempt < ATTEMPTS_MAX => {
                attempt += 1;
                let pause_ms = rand::random_range(100..=400);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn create_options(link: &mut Link, schema: &str, name: &str) -> Result<String, ViewsError> {
    let sql = format!(
        "SELECT CREATE_OPTIONS FROM information_schema.TABLES WHERE TABLE_SCHEMA={} AND TABLE_NAME={}",
        literal(schema),
        literal(name)
    );
    let rows = link.texts(&sql, super::connection::SHORT).await?;
    Ok(rows
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .unwrap_or_default())
}

fn plain_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_stands_right_behind_select() {
        let text = |sql: &str, engine| {
            hinted(sql.as_bytes(), engine).map(|sql| String::from_utf8(sql).unwrap())
        };
        assert_eq!(
            text("SELECT a FROM t", Engine::Secondary).as_deref(),
            Some("SELECT /*+ SET_VAR(use_secondary_engine=FORCED) */ a FROM t")
        );
        assert_eq!(
            text("SELECT a FROM t", Engine::InnoDb).as_deref(),
            Some("SELECT /*+ SET_VAR(use_secondary_engine=OFF) */ a FROM t")
        );
        assert_eq!(
            text("WITH x AS (SELECT 1) SELECT * FROM x", Engine::InnoDb),
            None
        );
    }

    #[test]
    fn engine_names_are_words() {
        assert!(plain_word("RAPID") && plain_word("MOCK"));
        assert!(!plain_word("") && !plain_word("x SECONDARY_LOAD") && !plain_word("a;b"));
    }

    #[test]
    fn only_the_engines_own_refusals_fall_back() {
        assert!(is_refusal(3889) && is_refusal(3877));
        assert!(!is_refusal(1146) && !is_refusal(1205));
    }
}
