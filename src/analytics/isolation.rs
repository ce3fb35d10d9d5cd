//! The isolation level that a session's transactions have, as far as its SET statements tell. Pure. What it cannot know it calls
//! unknown.
//!
//! The rules are those of the MySQL manual, "SET TRANSACTION Statement": a level set for the session holds from the next
//! transaction on; one without a scope (`SET TRANSACTION ..`, `SET @@transaction_isolation = ..`) for the next one alone.

use crate::sql::session_statement::{Assignment, Scope, SetTarget, SetValue};

/// A level by its name; `None` when it is not known.
pub type Level = Option<&'static str>;

/// Names of the levels, in the order of the numbers that the server takes for them.
const LEVELS: [&str; 4] = [
    "READ-UNCOMMITTED",
    "READ-COMMITTED",
    "REPEATABLE-READ",
    "SERIALIZABLE",
];

/// A level as a number that fits a counter; 0 when it is not known.
pub fn number(level: Level) -> u64 {
    let place = LEVELS.iter().position(|known| Some(*known) == level);
    place.map_or(0, |place| place as u64 + 1)
}

/// The level of such a number.
pub fn of_number(number: u64) -> Level {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    LEVELS.get(place).copied()
}

/// The levels of one session.
#[derive(Debug, Clone, Default)]
pub struct Isolation {
    global: Level,
    session: Level,
    next: Option<Level>,
}

impl Isolation {
    /// A session that begins; `global` is the server's default, when it is known.
    pub fn new(global: Option<&str>) -> Self {
        let global = global.and_then(level);
        Self {
            global,
            session: global,
            next: None,
        }
    }

    /// A SET that the server has done.
    pub fn assigned(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            let scope = match &assignment.target {
                SetTarget::Isolation(scope) => scope,
                SetTarget::Variable(scope, name)
                    if matches!(name.as_str(), "transaction_isolation" | "tx_isolation") =>
                {
                    scope
                }
                _ => continue,
            };
            let to = match &assignment.value {
                SetValue::Word(word) => level(word),
                SetValue::Text(text) => std::str::from_utf8(text).ok().and_then(level),
                SetValue::Number(number) => number
                    .parse()
                    .ok()
                    .and_then(|at: usize| LEVELS.get(at).copied()),
                SetValue::Default => self.global,
                _ => None,
            };
            match scope {
                Scope::Session => self.session = to,
                Scope::NextTransaction => self.next = Some(to),
                Scope::Global | Scope::Persist | Scope::PersistOnly => {}
            }
        }
    }

    /// Something ran that may have set anything.
    pub fn forget(&mut self) {
        (self.session, self.next) = (None, None);
    }

    /// The level of a transaction that begins now; what was set for the next one is used up.
    pub fn begin(&mut self) -> Level {
        self.next.take().unwrap_or(self.session)
    }
}

/// The name of a level that was written with spaces, hyphens or underscores, in any case.
fn level(text: &str) -> Level {
    let name = text.trim().to_ascii_uppercase().replace([' ', '_'], "-");
    LEVELS.into_iter().find(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::LexMode;
    use crate::sql::session_statement::{SessionStatement, parse};

    fn set(isolation: &mut Isolation, sql: &str) {
        match parse(sql.as_bytes(), LexMode::default()) {
            SessionStatement::Set(assignments) => isolation.assigned(&assignments),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn a_level_holds_for_its_scope() {
        let mut isolation = Isolation::new(Some("REPEATABLE-READ"));
        assert_eq!(isolation.begin(), Some("REPEATABLE-READ"));
        set(
            &mut isolation,
            "SET TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED",
        );
        assert_eq!(isolation.begin(), Some("READ-COMMITTED"));
        assert_eq!(isolation.begin(), Some("REPEATABLE-READ"));
        set(
            &mut isolation,
            "SET @@transaction_isolation = 'serializable'",
        );
        assert_eq!(isolation.begin(), Some("SERIALIZABLE"));
        assert_eq!(isolation.begin(), Some("REPEATABLE-READ"));
        for sql in [
            "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
            "SET transaction_isolation = 'READ-UNCOMMITTED'",
            "SET @@SESSION.transaction_isolation = 0",
            "SET SESSION tx_isolation = `read-uncommitted`",
        ] {
            let mut isolation = Isolation::new(Some("REPEATABLE-READ"));
            set(&mut isolation, sql);
            let both = (isolation.begin(), isolation.begin());
            let expected = Some("READ-UNCOMMITTED");
            assert_eq!(both, (expected, expected), "{sql}");
            set(
                &mut isolation,
                "SET SESSION transaction_isolation = DEFAULT",
            );
            assert_eq!(isolation.begin(), Some("REPEATABLE-READ"));
        }
    }

    #[test]
    fn a_number_stands_for_its_level() {
        for level in LEVELS.into_iter().map(Some).chain([None]) {
            assert_eq!(of_number(number(level)), level);
        }
        assert_eq!(of_number(9), None);
    }

    #[test]
    fn what_is_set_for_others_changes_nothing_and_what_cannot_be_read_is_unknown() {
        let mut isolation = Isolation::new(Some("REPEATABLE-READ"));
        set(
            &mut isolation,
            "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
        );
        set(&mut isolation, "SET autocommit = 0, sql_mode = ''");
        assert_eq!(isolation.begin(), Some("REPEATABLE-READ"));
        set(&mut isolation, "SET transaction_isolation = @level");
        assert_eq!(isolation.begin(), None);
        let mut isolation = Isolation::new(Some("REPEATABLE-READ"));
        isolation.forget();
        assert_eq!(isolation.begin(), None);
        assert_eq!(Isolation::new(None).begin(), None);
        assert_eq!(Isolation::new(Some("SNAPSHOT")).begin(), None);
    }
}
