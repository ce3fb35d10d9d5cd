//! One view's life: when it is built again, when it waits, when it goes. Pure: takes `now` in ms, does no IO.
//!
//! A build costs reads of the whole base table and is void as soon as the table changes. So a view whose last build did
//! not earn its cost waits until the table has been quiet for some multiple of what a build takes; the multiple doubles
//! with each fruitless build. A table that never rests costs a handful of builds, and none after that; one that comes to
//! rest has its view back soon.

/// The longest quiet time asked for, in ms.
const QUIET_MS_MAX: u64 = 300_000;
/// The shortest time a build is taken to need, in ms.
const BUILD_MS_MIN: u64 = 100;
/// Windows without use after which a view goes.
const IDLE_WINDOWS: u64 = 6;

/// Where a view is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be built for the first time.
    Planned,
    /// Being built; an earlier build is not in use.
    Building,
    /// In use.
    Ready,
    /// The base table changed; to be built again.
    Stale,
}

impl State {
    /// The stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Stale => "stale",
        }
    }
}

/// What the operator set.
#[derive(Debug, Clone, Copy)]
pub struct Rhythm {
    /// Least time between the starts of two builds of one view, in ms.
    pub rebuild_interval_ms_min: u64,
    /// The window in which demand is counted, in ms.
    pub window_ms: u64,
}

/// What to do with a view now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Start a build.
    Build,
    /// Nothing, and why.
    Wait(String),
    /// Drop it, and why.
    Drop(String),
}

/// The life of one view.
#[derive(Debug, Clone)]
pub struct Life {
    state: State,
    since_ms: u64,
    build_began_ms: Option<u64>,
    build_ms: u64,
    fruitless: u32,
    used_ms: u64,
    table_changed_ms: u64,
}

impl Life {
    /// A view decided upon at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            state: State::Planned,
            since_ms: now_ms,
            build_began_ms: None,
            build_ms: 0,
            fruitless: 0,
            used_ms: now_ms,
            table_changed_ms: 0,
        }
    }

    /// Its present state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is in that state.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Builds in a row that did not earn their cost.
    pub fn fruitless(&self) -> u32 {
        self.fruitless
    }

    fn enter(&mut self, state: State, now_ms: u64) {
        self.state = state;
        self.since_ms = now_ms;
    }

    /// Its base table was seen to have changed.
    pub fn table_changed(&mut self, now_ms: u64) {
        self.table_changed_ms = now_ms;
    }

    /// It was used, or would have been.
    pub fn wanted(&mut self, now_ms: u64) {
        self.used_ms = self.used_ms.max(now_ms);
    }

    /// A build starts.
    pub fn build_begins(&mut self, now_ms: u64) {
        self.build_began_ms = Some(now_ms);
        self.enter(State::Building, now_ms);
    }

    /// The build was published.
    pub fn published(&mut self, now_ms: u64) {
        self.build_ms = self.elapsed(now_ms);
        self.enter(State::Ready, now_ms);
    }

    /// The build came to nothing because the base table changed, or for a reason that may soon pass.
    pub fn build_void(&mut self, now_ms: u64, first_time: bool) {
        self.build_ms = self.build_ms.max(self.elapsed(now_ms));
        self.fruitless = self.fruitless.saturating_add(1);
        let state = if first_time {
            State::Planned
        } else {
            State::Stale
        };
        self.enter(state, now_ms);
    }

    /// The published build ended, having saved so much time.
    pub fn went_stale(&mut self, now_ms: u64, saved_ms: u64) {
        self.fruitless = if saved_ms >= self.build_ms.max(BUILD_MS_MIN) {
            0
        } else {
            self.fruitless.saturating_add(1)
        };
        self.table_changed(now_ms);
        self.enter(State::Stale, now_ms);
    }

    fn elapsed(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.build_began_ms.unwrap_or(now_ms))
    }

    /// How long the base table must have been quiet before the next build, in ms.
    pub fn quiet_needed_ms(&self) -> u64 {
        if self.fruitless == 0 {
            return 0;
        }
        self.build_ms
            .max(BUILD_MS_MIN)
            .saturating_mul(1 << self.fruitless.min(20))
            .min(QUIET_MS_MAX)
    }

    /// What to do now. `demand` counts executions within the window that it answered or would have.
    pub fn advice(&self, now_ms: u64, demand: u64, demand_min: u64, rhythm: Rhythm) -> Advice {
        let idle_ms = now_ms.saturating_sub(self.used_ms);
        if self.state != State::Building && idle_ms > rhythm.window_ms.saturating_mul(IDLE_WINDOWS)
        {
            return Advice::Drop(format!("not asked for {} s", idle_ms / 1000));
        }
        match self.state {
            State::Building => Advice::Wait("being built".into()),
            State::Ready => Advice::Wait(String::new()),
            State::Planned | State::Stale => self.build_advice(now_ms, demand, demand_min, rhythm),
        }
    }

    fn build_advice(&self, now_ms: u64, demand: u64, demand_min: u64, rhythm: Rhythm) -> Advice {
        if demand < demand_min {
            return Advice::Wait(format!(
                "asked {demand} of {demand_min} times in the window, not worth a build"
            ));
        }
        let next_ms = self.build_began_ms.map_or(0, |began| {
            began.saturating_add(rhythm.rebuild_interval_ms_min)
        });
        if now_ms < next_ms {
            return Advice::Wait(format!(
                "the next build may start in {} ms",
                next_ms - now_ms
            ));
        }
        let quiet_ms = now_ms.saturating_sub(self.table_changed_ms);
        let needed_ms = self.quiet_needed_ms();
        if quiet_ms < needed_ms {
            return Advice::Wait(format!(
                "the base table changes too often: quiet for {quiet_ms} of {needed_ms} ms"
            ));
        }
        Advice::Build
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm {
        rebuild_interval_ms_min: 10_000,
        window_ms: 600_000,
    };

    fn advice(life: &Life, now_ms: u64, demand: u64) -> Advice {
        life.advice(now_ms, demand, 5, RHYTHM)
    }

    #[test]
    fn a_useful_view_is_built_again_after_the_interval() {
        let mut life = Life::new(0);
        assert_eq!(advice(&life, 0, 5), Advice::Build);
        life.build_begins(0);
        assert!(matches!(advice(&life, 500, 5), Advice::Wait(_)));
        life.published(1_000);
        assert_eq!(advice(&life, 1_000, 5), Advice::Wait(String::new()));
        life.went_stale(4_000, 60_000);
        assert!(matches!(advice(&life, 9_999, 5), Advice::Wait(_)));
        assert_eq!(advice(&life, 10_000, 5), Advice::Build);
        assert!(matches!(advice(&life, 10_000, 4), Advice::Wait(_)));
    }

    #[test]
    fn a_table_that_never_rests_costs_few_builds() {
        let mut life = Life::new(0);
        let (mut builds, mut now_ms) = (0, 0);
        while now_ms < 3_600_000 {
            life.table_changed(now_ms);
            life.wanted(now_ms);
            if advice(&life, now_ms, 99) == Advice::Build {
                builds += 1;
                life.build_begins(now_ms);
                now_ms += 300;
                life.build_void(now_ms, true);
            }
            now_ms += 250;
        }
        assert!(builds <= 1, "{builds} builds");
        // Then it rests: the view comes back within twice the time asked for.
        let rested = now_ms + 2 * life.quiet_needed_ms() + 10_000;
        assert_eq!(advice(&life, rested, 99), Advice::Build);
    }

    #[test]
    fn fruitless_builds_ask_for_ever_longer_quiet() {
        let mut life = Life::new(0);
        let mut last = 0;
        for round in 0..12 {
            life.build_begins(round * 1_000_000);
            life.published(round * 1_000_000 + 2_000);
            life.went_stale(round * 1_000_000 + 5_000, 0);
            assert!(life.quiet_needed_ms() >= last);
            last = life.quiet_needed_ms();
        }
        assert_eq!(last, QUIET_MS_MAX);
        life.build_begins(20_000_000);
        life.published(20_002_000);
        life.went_stale(20_003_000, 2_000);
        assert_eq!(life.quiet_needed_ms(), 0);
    }

    #[test]
    fn a_view_nobody_asks_for_goes() {
        let mut life = Life::new(0);
        life.build_begins(0);
        life.published(10);
        life.wanted(100_000);
        assert!(matches!(advice(&life, 3_600_000, 0), Advice::Wait(_)));
        assert!(matches!(advice(&life, 3_700_001, 0), Advice::Drop(_)));
    }
}
