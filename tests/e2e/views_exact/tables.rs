//! Random base tables with the data that makes exactness hard: NULLs, equal strings of other bytes, many scales, extreme
//! integers, moments at the very end of a day, groups of three and of 201 rows.

use super::random::Random;

/// What a column is, as far as statements over it are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Int,
    Unsigned,
    Decimal(u32),
    Double,
    Date,
    Datetime(u32),
    Timestamp,
    Enum,
    Text,
    Binary,
    Year,
    Time,
    Generated,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: &'static str,
    pub ddl: &'static str,
    pub family: Family,
    pub nullable: bool,
}

const POOL: &[(&str, &str, Family)] = &[
    ("i", "INT", Family::Int),
    ("i2", "INT", Family::Int),
    ("big", "BIGINT", Family::Int),
    ("tiny", "TINYINT", Family::Int),
    ("flag", "TINYINT(1)", Family::Int),
    ("small", "SMALLINT", Family::Int),
    ("u", "INT UNSIGNED", Family::Unsigned),
    ("ubig", "BIGINT UNSIGNED", Family::Unsigned),
    ("amount", "DECIMAL(15,2)", Family::Decimal(2)),
    ("price", "DECIMAL(10,2)", Family::Decimal(2)),
    ("rate", "DECIMAL(12,6)", Family::Decimal(6)),
    ("whole", "DECIMAL(20,0)", Family::Decimal(0)),
    ("fine", "DECIMAL(20,10)", Family::Decimal(10)),
    ("finest", "DECIMAL(30,26)", Family::Decimal(26)),
    ("wide", "DECIMAL(43,5)", Family::Decimal(5)),
    ("posit", "DECIMAL(9,3) UNSIGNED", Family::Decimal(3)),
    ("dbl", "DOUBLE", Family::Double),
    ("d", "DATE", Family::Date),
    ("d2", "DATE", Family::Date),
    ("dt", "DATETIME", Family::Datetime(0)),
    ("dt3", "DATETIME(3)", Family::Datetime(3)),
    ("dt6", "DATETIME(6)", Family::Datetime(6)),
    ("ts", "TIMESTAMP", Family::Timestamp),
    ("kind", "ENUM('b','a','C','b2')", Family::Enum),
    ("tags", "SET('x','y')", Family::Enum),
    ("code", "CHAR(3) COLLATE utf8mb4_0900_ai_ci", Family::Text),
    (
        "word",
        "VARCHAR(9) COLLATE utf8mb4_general_ci",
        Family::Text,
    ),
    ("padded", "VARCHAR(9) COLLATE utf8mb4_bin", Family::Text),
    ("exact", "VARCHAR(9) COLLATE utf8mb4_0900_bin", Family::Text),
    ("latin", "VARCHAR(9) CHARACTER SET latin1", Family::Text),
    ("bin", "VARBINARY(4)", Family::Binary),
    ("y", "YEAR", Family::Year),
    ("at", "TIME", Family::Time),
    ("od`d name", "INT", Family::Int),
    (
        "kept",
        "INT GENERATED ALWAYS AS (n0 % 7) STORED",
        Family::Generated,
    ),
    (
        "seen",
        "INT GENERATED ALWAYS AS (n0 % 5) VIRTUAL",
        Family::Generated,
    ),
];

/// A table to make.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    pub create: String,
    pub insert: Vec<String>,
    pub rows: usize,
    /// Filled without strict mode: with dates of zeros and members that the ENUM does not have.
    pub loose: bool,
}

impl Table {
    /// A random table with random rows. Half of the tables have no equal texts of other bytes.
    pub fn random(random: &mut Random, name: &str) -> Self {
        let mut columns = Vec::new();
        for (name, ddl, family) in POOL {
            let wanted = match name {
                &"d" | &"dt" | &"kind" | &"i" | &"amount" => 85,
                &"wide" | &"finest" | &"dbl" | &"ts" => 8,
                _ => 40,
            };
            if random.chance(wanted) {
                columns.push(Column {
                    name,
                    ddl,
                    family: *family,
                    nullable: random.chance(60),
                });
            }
        }
        let variants = random.chance(40);
        let loose = random.chance(6);
        let rows = *random.pick(&[0, 1, 40, 201, 700, 1500, 1500, 1500]);
        let spread = *random.pick(&[2, 4, 12, 300]);
        let mut create =
            format!("CREATE TABLE `{name}` (id BIGINT AUTO_INCREMENT PRIMARY KEY, n0 INT NOT NULL");
        for column in &columns {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            create.push_str(&format!(", {} {} {null}", quoted(column.name), column.ddl));
        }
        for column in &columns {
            if random.chance(25) {
                create.push_str(&format!(", KEY ({})", quoted(column.name)));
            }
        }
        create.push(')');
        let insert = inserts(random, name, &columns, (rows, spread), (variants, loose));
        Self {
            name: name.to_owned(),
            columns,
            create,
            insert,
            rows,
            loose,
        }
    }

    /// A column of a family, if the table has one.
    pub fn column(&self, random: &mut Random, of: impl Fn(Family) -> bool) -> Option<Column> {
        let fitting: Vec<&Column> = self.columns.iter().filter(|c| of(c.family)).collect();
        if fitting.is_empty() {
            return None;
        }
        Some((*random.pick(&fitting)).clone())
    }
}

/// The statements that fill a table.
fn inserts(
    random: &mut Random,
    name: &str,
    columns: &[Column],
    (rows, spread): (usize, i64),
    (variants, loose): (bool, bool),
) -> Vec<String> {
    let filled: Vec<&Column> = columns
        .iter()
        .filter(|c| c.family != Family::Generated)
        .collect();
    let names: Vec<String> = std::iter::once("n0".to_owned())
        .chain(filled.iter().map(|c| quoted(c.name)))
        .collect();
    let mut insert = Vec::new();
    let mut row = 0;
    while row < rows && !filled.is_empty() {
        let upto = rows.min(row + 250);
        let values: Vec<String> = (row..upto)
            .map(|_| {
                let cells: Vec<String> = filled
                    .iter()
                    .map(|column| match column.family {
                        Family::Date if loose && random.chance(5) => "'2024-00-00'".to_owned(),
                        Family::Date if loose && random.chance(5) => "0".to_owned(),
                        Family::Enum if loose && random.chance(5) => "'gone'".to_owned(),
                        _ => value(random, column, variants, spread),
                    })
                    .collect();
                format!("({},{})", random.below(30), cells.join(","))
            })
            .collect();
        insert.push(format!(
            "INSERT INTO `{name}` ({}) VALUES {}",
            names.join(","),
            values.join(",")
        ));
        row = upto;
    }
    insert
}

/// A name in backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The days the data is spread over: the ends of months and years, a leap day.
const DAYS: [&str; 12] = [
    "2023-12-30",
    "2023-12-31",
    "2024-01-01",
    "2024-01-02",
    "2024-01-31",
    "2024-02-01",
    "2024-02-28",
    "2024-02-29",
    "2024-03-01",
    "2024-12-31",
    "2025-01-01",
    "2025-01-06",
];

/// A day of the data.
pub fn day(random: &mut Random) -> String {
    (*random.pick(&DAYS)).to_owned()
}

fn moment(random: &mut Random, fraction: u32) -> String {
    let time = match random.below(5) {
        0 => "00:00:00".to_owned(),
        1 => "23:59:59".to_owned(),
        2 => "00:00:01".to_owned(),
        _ => format!(
            "{:02}:{:02}:{:02}",
            random.below(24),
            random.below(60),
            random.below(60)
        ),
    };
    let digits = match (fraction, random.below(3)) {
        (0, _) => String::new(),
        (_, 0) => format!(".{}", "9".repeat(fraction as usize)),
        (_, 1) => String::new(),
        _ => format!(".{}", random.below(10usize.pow(fraction))),
    };
    format!("{} {time}{digits}", day(random))
}

/// A DECIMAL with this scale; values whose thirds and sevenths show hidden digits among them.
pub fn decimal(random: &mut Random, scale: u32, spread: i64) -> String {
    let whole = match random.below(12) {
        0 => 0,
        1 if scale < 20 => 99_999,
        _ => random.between(-spread.min(999), spread.min(999)),
    };
    if scale == 0 {
        return whole.to_string();
    }
    let digits: String = (0..scale)
        .map(|_| match random.below(4) {
            0 => '9',
            1 => '4',
            2 => '0',
            _ => char::from(b'0' + random.below(10) as u8),
        })
        .collect();
    format!("{whole}.{digits}")
}

fn value(random: &mut Random, column: &Column, variants: bool, spread: i64) -> String {
    if column.nullable && random.chance(15) {
        return "NULL".into();
    }
    match column.family {
        Family::Int => match (column.name, random.below(40)) {
            ("big", 0) => "9223372036854775807".into(),
            ("big", 1) => "-9223372036854775808".into(),
            ("i", 0) => "2147483647".into(),
            ("tiny" | "flag", _) => random.between(-2, 2).to_string(),
            _ => random
                .between(-spread.min(30_000), spread.min(30_000))
                .to_string(),
        },
        Family::Unsigned => match (column.name, random.below(40)) {
            ("ubig", 0) => "18446744073709551615".into(),
            _ => random.between(0, spread).to_string(),
        },
        Family::Decimal(scale) => {
            let value = decimal(random, scale, spread);
            if column.ddl.contains("UNSIGNED") {
                value.trim_start_matches('-').to_owned()
            } else {
                value
            }
        }
        Family::Double => format!("{}e{}", random.between(-9, 9), random.between(-3, 15)),
        Family::Date => format!("'{}'", day(random)),
        Family::Datetime(fraction) => format!("'{}'", moment(random, fraction)),
        Family::Timestamp => format!("'{}'", moment(random, 0)),
        Family::Enum if column.name == "tags" => {
            format!("'{}'", random.pick(&["", "x", "y", "x,y"]))
        }
        Family::Enum => format!("'{}'", random.pick(&["a", "b", "C", "b2"])),
        Family::Text | Family::Binary => text(random, column.name, variants),
        Family::Year => random.between(2020, 2025).to_string(),
        Family::Time => format!("'{:02}:00:00'", random.below(24)),
        Family::Generated => "DEFAULT".into(),
    }
}

fn text(random: &mut Random, column: &str, variants: bool) -> String {
    let plain = ["EUR", "USD", "x", "yy"];
    let hard = ["EUR", "eur", "x", "X", "x ", "é", "e", ""];
    let one = if variants {
        *random.pick(&hard)
    } else {
        *random.pick(&plain)
    };
    let one = match (column, one) {
        ("bin" | "latin" | "code", "é") => "e",
        (_, one) => one,
    };
    format!("'{one}'")
}
