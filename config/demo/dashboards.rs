//! The dashboards of dashboards.sql: their names, their texts, and the moving date ranges put into them.

/// First month of the data, counted in months since year 0.
const FIRST_MONTH: u32 = 2023 * 12;
/// Months of data.
const MONTHS: u32 = 36;

/// Steps whose ranges the app's workload shows; measurements use others.
pub const APP_STEPS: std::ops::Range<u32> = 100..600;

/// One dashboard query.
pub struct Dashboard {
    /// Short name.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    months: u32,
    text: &'static str,
}

impl Dashboard {
    /// The statement for the range number `step`. Steps below 600 give different ranges.
    pub fn sql(&self, step: u32) -> String {
        let starts = MONTHS - self.months;
        let month = FIRST_MONTH + step % starts;
        let day = 1 + step / starts % 28;
        let date = |month: u32| format!("{:04}-{:02}-{day:02}", month / 12, month % 12 + 1);
        self.text
            .replace("{from}", &date(month))
            .replace("{to}", &date(month + self.months))
    }

    /// The step of the `number`th range that holds the last month of the data.
    pub fn last_step(&self, number: u32) -> u32 {
        (MONTHS - self.months) * (number + 1) - 1
    }
}

/// All of them, in the file's order.
pub fn all() -> Vec<Dashboard> {
    let blocks = include_str!("dashboards.sql").split("\n-- ").skip(1);
    let found: Vec<Dashboard> = blocks.filter_map(parse).collect();
    assert_eq!(found.len(), 5, "dashboards.sql holds five dashboards");
    found
}

/// `name months: title` on the first line, the statement after it. Other comments have no number there.
fn parse(block: &'static str) -> Option<Dashboard> {
    let (head, text) = block.split_once('\n')?;
    let (name, title) = head.split_once(": ")?;
    let (name, months) = name.split_once(' ')?;
    let months = months.parse().ok()?;
    let text = text.trim().trim_end_matches(';');
    Some(Dashboard {
        name,
        title,
        months,
        text,
    })
}
