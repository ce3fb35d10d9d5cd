//! Parameters and query attributes as bytes, as MySQL's binary protocol wants them.

use super::play::Slot;
use super::program::{Execution, Value};

const CURSOR_READ_ONLY: u8 = 1;
const PARAMETER_COUNT_AVAILABLE: u8 = 8;

/// What stands before the text of a COM_QUERY where query attributes were agreed on; nothing where not.
pub(super) fn attributes(agreed: bool, pairs: &[(String, String)]) -> Vec<u8> {
    if !agreed {
        return Vec::new();
    }
    let mut bytes = vec![pairs.len() as u8, 1];
    if pairs.is_empty() {
        return bytes;
    }
    bytes.extend(vec![0; pairs.len().div_ceil(8)]);
    bytes.push(1);
    for (name, _) in pairs {
        bytes.extend([0xFD, 0]);
        put_text(&mut bytes, name);
    }
    for (_, value) in pairs {
        put_text(&mut bytes, value);
    }
    bytes
}

/// COM_STMT_EXECUTE. The values are used in turn for as many parameters as there are; of types that are left out, those of the
/// last execution hold.
pub(super) fn execute(
    statement: [u8; 4],
    slot: &mut Slot,
    execution: &Execution,
    has_attributes: bool,
) -> Vec<u8> {
    let known = slot
        .prepared
        .map(|prepared| usize::from(prepared.parameters));
    let count = known.unwrap_or(execution.values.len());
    let count = if execution.values.is_empty() {
        0
    } else {
        count
    };
    let mut flags = u8::from(slot.cursor == Some(true)) * CURSOR_READ_ONLY;
    if has_attributes {
        flags |= PARAMETER_COUNT_AVAILABLE;
    }
    let mut command = vec![0x17];
    command.extend(statement);
    command.push(flags);
    command.extend([1, 0, 0, 0]);
    if has_attributes {
        command.push(count as u8);
    }
    if count == 0 {
        return command;
    }
    let values: Vec<&Value> = execution.values.iter().cycle().take(count).collect();
    let is_long = |at: usize| slot.long.contains(&(at as u16));
    let bare = execution.bare && slot.kinds.len() == count && slot.long.is_empty();
    let kinds: Vec<&'static str> = match bare {
        true => slot.kinds.clone(),
        false => values
            .iter()
            .enumerate()
            .map(|(at, value)| if is_long(at) { "blob" } else { value.kind })
            .collect(),
    };
    let mut nulls = vec![0_u8; count.div_ceil(8)];
    let (mut types, mut bytes) = (Vec::new(), Vec::new());
    for (at, (value, kind)) in values.iter().zip(&kinds).enumerate() {
        types.extend(type_code(kind));
        if has_attributes {
            types.push(0);
        }
        match value.kind {
            _ if is_long(at) => {}
            "null" => nulls[at / 8] |= 1 << (at % 8),
            _ if *kind == "null" => nulls[at / 8] |= 1 << (at % 8),
            _ => put_value(&mut bytes, kind, &value.text),
        }
    }
    command.extend(nulls);
    command.push(u8::from(!bare));
    if !bare {
        command.extend(types);
    }
    command.extend(bytes);
    slot.kinds = kinds;
    command
}

fn type_code(kind: &str) -> [u8; 2] {
    match kind {
        "tiny" => [1, 0],
        "short" => [2, 0],
        "int" => [3, 0],
        "long" => [8, 0],
        "unsigned" => [8, 0x80],
        "float" => [4, 0],
        "double" => [5, 0],
        "decimal" => [246, 0],
        "text" => [253, 0],
        "blob" => [252, 0],
        "date" => [10, 0],
        "datetime" => [12, 0],
        "time" => [11, 0],
        _ => [6, 0],
    }
}

/// A value in the form of its type; text that is no number is 0 where a number is wanted.
fn put_value(out: &mut Vec<u8>, kind: &str, text: &str) {
    let whole = || text.parse::<i128>().unwrap_or(0);
    let broken = || text.parse::<f64>().unwrap_or(0.0);
    match kind {
        "tiny" => out.push(whole() as u8),
        "short" => out.extend((whole() as i16).to_le_bytes()),
        "int" => out.extend((whole() as i32).to_le_bytes()),
        "long" | "unsigned" => out.extend((whole() as i64).to_le_bytes()),
        "float" => out.extend((broken() as f32).to_le_bytes()),
        "double" => out.extend(broken().to_le_bytes()),
        "date" | "datetime" => put_moment(out, text),
        "time" => put_duration(out, text),
        _ => put_text(out, text),
    }
}

/// Numbers of a text such as `2024-02-29 10:20:30`.
fn numbers(text: &str) -> Vec<u16> {
    let parts = text.split(|letter: char| !letter.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn put_moment(out: &mut Vec<u8>, text: &str) {
    let parts = numbers(text);
    let [year, ref rest @ ..] = parts[..] else {
        return out.push(0);
    };
    out.push(if rest.len() > 2 { 7 } else { 4 });
    out.extend(year.to_le_bytes());
    let wanted = if rest.len() > 2 { 5 } else { 2 };
    out.extend((0..wanted).map(|at| rest.get(at).map_or(0, |part| *part as u8)));
}

fn put_duration(out: &mut Vec<u8>, text: &str) {
    let parts = numbers(text);
    out.extend([8, u8::from(text.starts_with('-')), 0, 0, 0, 0]);
    out.extend((0..3).map(|at| parts.get(at).map_or(0, |part| *part as u8)));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ 0..251 => out.push(short as u8),
        long => {
            out.push(0xFC);
            out.extend((long as u16).to_le_bytes());
        }
    }
    out.extend(text.as_bytes());
}
