//! The room's handle without a server: what workers are told, and what they tell.

use super::catalog::TableInfo;
use super::definition::{MeasureFunction, ReadyView, StoredColumn};
use super::keyset::{KeyPart, Keyset};
use super::observed::Observed;
use super::plan::{Parsed, Plan};
use super::registry::Usage;
use super::schema::TableSchema;
use super::*;
use crate::backend::control::ControlSettings;
use crate::binlog::{Position, TableKey, Unavailable};
use crate::sql::{LexMode, StatementCache};

const SQL: &str = "SELECT kind, SUM(amount) FROM orders WHERE day >= '2026-01-01' GROUP BY kind";

struct Desk {
    views: Arc<Views>,
    statements: StatementCache,
    env: Arc<SessionEnv>,
}

impl Desk {
    fn new() -> Self {
        Self::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        let views = Views::new(
            config,
            Control::new(ControlSettings::from_config(config)),
            Binlog::unavailable(Unavailable::Disabled),
            SharedCapabilities::default(),
        );
        Self {
            views,
            statements: StatementCache::new(100),
            env: Arc::new(env(&[])),
        }
    }

    fn ask<T>(&self, sql: &str, then: impl FnOnce(&Question<'_>) -> T) -> T {
        let mut scratch = DigestScratch::new(4096);
        scratch.run(sql.as_bytes(), LexMode::default());
        let statement = self.statements.get_or_parse(&scratch, sql.as_bytes());
        then(&Question {
            statement: &statement,
            text: sql.as_bytes(),
            scratch: &scratch,
            schema: "shop",
            env: &self.env,
        })
    }

    fn route(&self, sql: &str) -> Result<ViewRoute, Refusal> {
        self.ask(sql, |question| self.views.route(question))
    }

    fn observe(&self, sql: &str, times: u32) {
        for _ in 0..times {
            self.ask(sql, |question| self.views.observe(question, &[], 50_000));
        }
    }

    /// What the refresh task does with waiting texts.
    fn plan(&self) -> Vec<Arc<Observed>> {
        let all: Vec<Arc<Observed>> = self
            .views
            .statements
            .all()
            .into_iter()
            .map(|(_, observed)| observed)
            .collect();
        for observed in &all {
            for unplanned in observed.take_unplanned() {
                if observed.fits_now(&unplanned) {
                    continue;
                }
                let parsed = Parsed::new(unplanned.text(), &observed.session);
                let planned = parsed.base_table(&observed.session).and_then(|_| {
                    Plan::make(&parsed, info(), crate::views::catalog::Asof::default())
                });
                observed.planned(&unplanned, planned, 0);
            }
        }
        all
    }

    /// Publishes the view that a statement asks for.
    fn publish(&self, engine: EngineUse, generation: u64) -> Arc<Published> {
        let definition = self
            .views
            .statements
            .all()
            .iter()
            .find_map(|(_, observed)| {
                let variants = observed.variants();
                Some(Arc::clone(variants.first()?.plan.definition()))
            })
            .unwrap();
        let stored = |name: &str, column_type: &str| StoredColumn {
            name: name.into(),
            column_type: column_type.into(),
            character_set: None,
            collation: None,
            nullable: false,
        };
        let keys = definition
            .keys
            .iter()
            .map(|key| match key.expression.as_str() {
                "`day`" => stored(&key.column, "date"),
                _ => stored(&key.column, "int"),
            });
        let measures = definition.measures.iter().map(|m| match m.function {
            MeasureFunction::Sum => stored(&m.column, "decimal(37,2)"),
            _ => stored(&m.column, "bigint"),
        });
        let columns = keys.chain(measures).collect();
        let view = ReadyView {
            id: 1,
            generation,
            table_sql: format!("`tidegate`.`v1_{generation}`").into(),
            definition,
            columns: Arc::new(columns),
            variant_columns: Arc::default(),
            rows: 9,
        };
        let compared = self.views.statements.all();
        for variant in compared.iter().flat_map(|(_, o)| Vec::clone(&o.variants())) {
            variant.proof.equal(view.id);
        }
        let published = Arc::new(Published::new(
            view,
            vec![TableKey::new("shop", "orders")],
            (Position::new(1, 4), 1),
            engine,
            Arc::<Usage>::default(),
        ));
        self.views.registry.publish(Arc::clone(&published));
        published
    }
}

/// The environment of a fresh session, with some columns of its row replaced.
fn env(changes: &[(usize, &str)]) -> SessionEnv {
    let mut row: Vec<&str> = vec![
        "shop",
        "app@%",
        "NONE",
        crate::sql::env::DEFAULT_SQL_MODE,
        "SYSTEM",
        "utf8mb4",
        "utf8mb4",
        "utf8mb4_0900_ai_ci",
        "utf8mb4",
        "4",
        "1024",
        "0",
        "en_US",
        "18446744073709551615",
        "18446744073709551615",
        "1",
        "1",
        "1",
        "REPEATABLE-READ",
        "0",
        "1024",
        "67108864",
        "en_US",
        "1",
        "1024",
        "aes-128-ecb",
        "index_merge=on",
        "FULL",
        "ON",
        "0",
        "1000",
        "utf8mb4_0900_ai_ci",
        "65536",
        "8388608",
        "0",
        "18446744073709551615",
        "3d27f50a-e4ae-11f1-845f-02fc00000001",
    ];
    // What the row has beyond these is of no interest here.
    row.resize(crate::sql::env::COLUMNS, "x");
    for (at, value) in changes {
        row[*at] = value;
    }
    let row: Vec<Option<Vec<u8>>> = row.iter().map(|v| Some(v.as_bytes().to_vec())).collect();
    SessionEnv::from_row(&row).unwrap()
}

fn info() -> Arc<TableInfo> {
    let text = |text: &str| Some(text.to_owned());
    let column = |name: &str, kind: &str, key: &str| {
        vec![
            text(name),
            text(kind),
            text("NO"),
            None,
            None,
            text(""),
            text(key),
        ]
    };
    let table = [
        text("shop"),
        text("orders"),
        text("BASE TABLE"),
        text("InnoDB"),
    ];
    let columns = vec![
        column("id", "bigint", "PRI"),
        column("day", "date", ""),
        column("kind", "int", ""),
        column("amount", "decimal(15,2)", ""),
    ];
    let part = KeyPart {
        column: "id",
        data_type: "bigint",
        character_set: None,
    };
    Arc::new(TableInfo {
        schema: Arc::new(TableSchema::from_rows(&table, &columns).unwrap()),
        key: TableKey::new("shop", "orders"),
        keyset: Keyset::new(&[part]),
        primary: vec!["id".into()],
        rows_estimated: 1_000,
    })
}

#[test]
fn a_statement_waits_until_it_was_seen_planned_and_published() {
    let desk = Desk::new();
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    desk.observe(SQL, 1);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    desk.plan();
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NoView);
    let published = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    assert!(Arc::ptr_eq(&route.view, &published));
    assert!(route.sql.starts_with(b"SELECT ") && route.fallback_sql.is_none());
    // Other literals of the same statement use the same plan.
    let later = SQL.replace("2026-01-01", "2026-02-02");
    let sql = desk.route(&later).unwrap().sql;
    assert!(String::from_utf8(sql).unwrap().contains("2026-02-02"));
}

#[test]
fn what_was_planned_after_the_view_waits_for_its_comparison() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    assert!(desk.route(SQL).is_ok());
    // The same rows by the same view, asked in another way.
    let later = format!("{SQL} ORDER BY 1");
    desk.observe(&later, 1);
    let all = desk.plan();
    assert_eq!(desk.route(&later).unwrap_err(), Refusal::NotCompared);
    assert!(desk.route(SQL).is_ok());
    for variant in all.iter().flat_map(|o| Vec::clone(&o.variants())) {
        variant.proof.equal(1);
    }
    assert!(desk.route(&later).is_ok());
}

#[test]
fn a_question_that_cannot_be_compared_rests_longer_each_time() {
    let proof = crate::views::observed::Proof::default();
    let mut now_ms = 0;
    let rests: Vec<u64> = (0..12)
        .map(|_| {
            proof.rest(now_ms);
            let from_ms = now_ms;
            while proof.rests(now_ms) {
                now_ms += 1_000;
            }
            now_ms - from_ms
        })
        .collect();
    assert_eq!(rests[..4], [2_000, 4_000, 8_000, 16_000]);
    assert_eq!(rests[11], 600_000);
    (1..=20).for_each(|view| proof.equal(view));
    assert!(proof.holds(20) && proof.holds(13) && !proof.holds(12));
}

#[test]
fn literals_that_shape_the_answer_have_plans_of_their_own() {
    let desk = Desk::new();
    let of = |kind: u32| {
        format!("SELECT SUM(CASE WHEN kind = {kind} THEN amount ELSE 0 END) FROM orders")
    };
    desk.observe(&of(1), 3);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    assert!(desk.route(&of(1)).is_ok());
    assert!(desk.route(&of(2)).is_err());
    desk.observe(&of(2), 1);
    let all = desk.plan();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].variants().len(), 2);
    assert!(matches!(
        desk.route(&of(2)),
        Err(Refusal::MissingMeasure | Refusal::MissingKey)
    ));
    // Never more variants than are looked at.
    for kind in 3..40 {
        desk.observe(&of(kind), 1);
        desk.plan();
    }
    assert!(all[0].variants().len() <= 8);
}

#[test]
fn what_is_stale_or_replaced_is_not_used() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    let first = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    desk.views.gate_closed(&route, &GateError::StreamLate);
    assert!(!first.is_stale());
    desk.views.gate_closed(&route, &GateError::Epoch);
    assert!(first.is_stale());
    assert!(desk.route(SQL).is_err());
    let second = desk.publish(EngineUse::None, 2);
    assert!(Arc::ptr_eq(&desk.route(SQL).unwrap().view, &second));
    desk.views.failed(&route, 1205);
    let route = desk.route(SQL).unwrap();
    desk.views.failed(&route, 1205);
    assert!(!second.is_stale());
    desk.views.failed(&route, 1146);
    assert!(second.is_stale() && desk.route(SQL).is_err());
    desk.publish(EngineUse::None, 3);
    desk.views.registry.retire(1);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NoView);
}

#[test]
fn a_proven_engine_is_forced_with_a_way_back() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::Pinned, 1);
    let text = |sql: &[u8]| String::from_utf8(sql.to_vec()).unwrap();
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=OFF"));
    assert_eq!(route.fallback_sql, None);
    desk.publish(EngineUse::Proven("RAPID".into()), 2);
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=FORCED"));
    assert!(text(route.fallback_sql.as_deref().unwrap()).contains("use_secondary_engine=OFF"));
    // Refused once, it is left alone for a while; the view stays in use.
    desk.views.failed(&route, 3889);
    let route = desk.route(SQL).unwrap();
    assert!(text(&route.sql).contains("use_secondary_engine=OFF"));
    assert_eq!(route.fallback_sql, None);
}

#[test]
fn sessions_that_differ_are_refused_or_kept_apart() {
    let mut desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    desk.env = Arc::new(env(&[(3, "ANSI_QUOTES")]));
    assert_eq!(desk.route(SQL).unwrap_err().label(), "env_sql_mode");
    desk.observe(SQL, 5);
    desk.env = Arc::new(env(&[(4, "+02:00")]));
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::NotPlanned);
    assert_eq!(desk.views.statements.all().len(), 1);
}

#[test]
fn what_a_view_answers_is_asked_for() {
    let mut config = Config::default();
    config.statements.cache_entries_max = 4;
    let desk = Desk::with(&config);
    desk.observe(SQL, 1);
    desk.plan();
    desk.publish(EngineUse::None, 1);
    let observed = desk.views.statements.all().remove(0).1;
    observed.note_hits(1_000_000);
    assert!(observed.last_ms() < 1_000_000, "nobody asked");
    let route = desk.route(SQL).unwrap();
    desk.views.served(&route, 1);
    observed.note_hits(1_000_000);
    observed.note_hits(2_000_000);
    assert_eq!(observed.last_ms(), 1_000_000);
    // And it stays when others must make room.
    for round in 0..9 {
        for table in 0..3 {
            let sql = format!("SELECT COUNT(*) FROM t{round}_{table} GROUP BY a");
            desk.observe(&sql, 1);
        }
        desk.views.statements.forget(0);
    }
    assert_eq!(desk.views.statements.all().len(), 3);
    assert!(desk.route(SQL).is_ok());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut config = Config::default();
    config.statements.cache_entries_max = 10;
    let desk = Desk::with(&config);
    for table in 0..50 {
        desk.observe(&format!("SELECT COUNT(*) FROM t{table} GROUP BY a"), 1);
    }
    assert_eq!(desk.views.statements.all().len(), 10);
    assert_eq!(desk.views.statements.overflow(), 40);
    // The next look makes room: what comes then is learnt.
    desk.views.statements.forget(0);
    assert_eq!(desk.views.statements.all().len(), 7);
    desk.observe("SELECT COUNT(*) FROM late GROUP BY a", 1);
    assert_eq!(desk.views.statements.all().len(), 8);
    let long = format!(
        "SELECT COUNT(*) FROM t0 WHERE a = '{}' GROUP BY a",
        "x".repeat(40_000)
    );
    let all = desk.views.statements.all();
    desk.observe(&long, 3);
    let kept: usize = all
        .iter()
        .flat_map(|(_, observed)| observed.take_unplanned())
        .map(|unplanned| unplanned.text().len())
        .sum();
    assert!(kept < 10 * 2 * 100, "{kept} bytes");
}

#[test]
fn samples_follow_what_is_asked() {
    let desk = Desk::new();
    for day in 10..28 {
        desk.observe(&SQL.replace("2026-01-01", &format!("2026-01-{day}")), 20);
        desk.plan();
    }
    let all = desk.plan();
    let variants = all[0].variants();
    let samples = variants[0].samples();
    assert_eq!(samples.len(), 5);
    let last = samples
        .iter()
        .map(|text| String::from_utf8(text.to_vec()).unwrap())
        .max()
        .unwrap();
    assert!(last > SQL.replace("2026-01-01", "2026-01-16"), "{last}");
    assert!(variants[0].totals().0 > 300);
}

#[test]
fn switched_off_means_off() {
    let mut config = Config::default();
    config.views.enabled = false;
    let desk = Desk::with(&config);
    desk.observe(SQL, 9);
    assert_eq!(desk.route(SQL).unwrap_err(), Refusal::ViewsOff);
    assert!(desk.views.statements.all().is_empty());
}

#[test]
fn hits_are_counted_with_what_they_saved() {
    let desk = Desk::new();
    desk.observe(SQL, 1);
    desk.plan();
    desk.observe(SQL, 3);
    let published = desk.publish(EngineUse::None, 1);
    let route = desk.route(SQL).unwrap();
    assert_eq!(route.base_us, 50_000);
    desk.views.served(&route, 1_000);
    desk.views.served(&route, 90_000);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(read(&published.usage.hits), 2);
    assert_eq!(read(&published.usage.view_us), 91_000);
    assert_eq!(read(&published.usage.saved_us), 49_000);
}
