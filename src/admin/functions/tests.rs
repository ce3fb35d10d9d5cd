//! MySQL's functions in SQLite, checked against what MySQL 9.7 answers.

use super::*;

fn ask(sql: &str) -> Option<String> {
    let db = Connection::open_in_memory().unwrap();
    register(&db).unwrap();
    let show = |value: ValueRef<'_>| match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(format!("{number:?}")),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
    };
    db.query_row(&format!("SELECT {sql}"), [], |row| {
        Ok(show(row.get_ref(0)?))
    })
    .unwrap()
}

/// What MySQL 9.7 answers to the same text.
#[test]
fn answers_are_those_of_mysql() {
    for (sql, answer) in [
        ("concat('a', 1, 2.5)", "a12.5"),
        ("left_of('größe', 3)", "grö"),
        ("right_of('abc', 2)", "bc"),
        ("length('ö')", "2"),
        ("char_length('ö')", "1"),
        ("locate('B', 'abcb', 3)", "4"),
        ("lpad('7', 3, '0')", "007"),
        ("rpad('abc', 2, 'x')", "ab"),
        ("field('b', 'a', 'b')", "2"),
        ("elt(2, 'a', 'b')", "b"),
        ("greatest(1, 2.5, 2)", "2.5"),
        ("least('b', 'a')", "a"),
        ("format(1234567.891, 2)", "1,234,567.89"),
        ("format(-999, 0)", "-999"),
        ("format_bytes(512)", " 512 bytes"),
        ("format_bytes(1536)", "1.50 KiB"),
        ("format_pico_time(3501)", "3.50 ns"),
        ("mod(7, 3)", "1"),
        ("floor(-1.5)", "-2"),
        ("ceil(1.2)", "2"),
        ("truncate(1.999, 2)", "1.99"),
        ("unix_timestamp('2001-09-09 01:46:40')", "1000000000"),
        ("from_unixtime(1000000000)", "2001-09-09 01:46:40"),
        (
            "from_unixtime(0, '%Y-%j %a %b %l%p')",
            "1970-001 Thu Jan 12AM",
        ),
        (
            "date_format('2024-02-29 13:05:09', '%Y-%m %W %k:%i:%s')",
            "2024-02 Thursday 13:05:09",
        ),
        (
            "timestampdiff('MINUTE', '2024-01-01', '2024-01-01 01:30:59')",
            "90",
        ),
        ("date_add('2024-01-31', 1, 'month')", "2024-02-29"),
        ("datediff('2024-03-01', '2024-02-28 23:59:59')", "2"),
        ("extract('QUARTER', '2024-08-01')", "3"),
        ("weekday('2024-02-29')", "3"),
        ("sec_to_time(3661)", "01:01:01"),
        ("is_null(NULL)", "1"),
        ("'ABC' LIKE 'a%c'", "1"),
        (r"'a%c' LIKE 'a\%c'", "1"),
        (r"'abc' LIKE 'a\%c'", "0"),
        ("'abc' LIKE 'a|%c' ESCAPE '|'", "0"),
        ("'select 1' REGEXP '^SELECT [0-9]+$'", "1"),
        ("if(1, 'y', 'n')", "y"),
        ("upper('ö')", "Ö"),
    ] {
        assert_eq!(ask(sql).as_deref(), Some(answer), "{sql}");
    }
    for null in [
        "concat('a', NULL)",
        "date_format('x', '%Y')",
        "ln(0)",
        "repeat('x', 9999999)",
    ] {
        assert_eq!(ask(null), None, "{null}");
    }
}

#[test]
fn like_is_not_exponential() {
    let text = "a".repeat(5000);
    let pattern = "%a".repeat(100) + "b";
    assert!(!is_like(&text, &pattern, Some('\\')));
    assert!(is_like("", "%%", None) && !is_like("", "_", None));
}

#[test]
fn numbers_are_read_as_far_as_they_go() {
    for (text, number) in [
        ("12abc", 12.0),
        ("1e2x", 100.0),
        ("x", 0.0),
        ("1e", 1.0),
        ("-.5", -0.5),
    ] {
        assert_eq!(leading_number(text), number, "{text}");
    }
}
