//! Values between the admin engine and the MySQL wire: parameters of COM_STMT_EXECUTE, cells of rows, column definitions.
//! Pure; bytes from clients are checked here, so that only well-formed ones go on.

use std::io::{self, Write};

use opensrv_mysql::{Column, ColumnFlags, ColumnType, ToMysqlValue};

use crate::protocol::column::{
    COLLATION_BINARY, COLLATION_UTF8MB4, ColumnDefinition, FLAG_BINARY, column_type,
};
use crate::protocol::packet::{put_lenenc, put_lenenc_bytes};

use super::catalog::{self, Type};
use super::engine::ResultColumn;
use super::error::Error;
use super::functions::real_text;
use super::time::Moment;
use super::value::Value;

/// Decimals of a column that has no fixed number of them.
const DECIMALS_NOT_FIXED: u8 = 31;

/// Type code, display length in bytes, collation, flags and decimals of a type.
fn shape(kind: Type) -> (u8, u32, u16, u16, u8) {
    let text =
        |code, characters: u32| (code, characters.saturating_mul(4), COLLATION_UTF8MB4, 0, 0);
    match kind {
        Type::BigInt => (column_type::LONGLONG, 20, COLLATION_BINARY, FLAG_BINARY, 0),
        Type::Bool => (column_type::TINY, 1, COLLATION_BINARY, FLAG_BINARY, 0),
        Type::Double => (
            column_type::DOUBLE,
            22,
            COLLATION_BINARY,
            FLAG_BINARY,
            DECIMALS_NOT_FIXED,
        ),
        Type::Varchar(length) | Type::Name(length) => {
            text(column_type::VAR_STRING, u32::from(length))
        }
        Type::Text => text(column_type::BLOB, 65_535),
        Type::Datetime => (column_type::DATETIME, 26, COLLATION_BINARY, FLAG_BINARY, 6),
    }
}

/// The payload of a column definition.
pub fn definition(column: &ResultColumn) -> Vec<u8> {
    let (type_code, length, collation, flags, decimals) = shape(column.kind);
    let origin = column.origin.as_ref();
    let definition = ColumnDefinition {
        schema: origin.map_or(&b""[..], |origin| origin.schema.as_bytes()),
        table: origin.map_or(&b""[..], |origin| origin.alias.as_bytes()),
        org_table: origin.map_or(&b""[..], |origin| origin.table.as_bytes()),
        name: column.name.as_bytes(),
        org_name: origin.map_or(&b""[..], |origin| origin.column.as_bytes()),
        collation,
        length,
        type_code,
        flags,
        decimals,
    };
    let mut payload = Vec::with_capacity(96);
    definition.write(&mut payload);
    payload
}

/// The payload of the definition of a parameter: MySQL's name and type for it.
pub fn parameter_definition() -> Vec<u8> {
    let mut payload = Vec::with_capacity(32);
    ColumnDefinition {
        collation: COLLATION_BINARY,
        flags: FLAG_BINARY,
        ..ColumnDefinition::text(b"?", 0)
    }
    .write(&mut payload);
    payload
}

/// The definition of a table's column as COM_FIELD_LIST answers it: with its default, NULL, behind.
pub fn field_definition(
    table: &'static catalog::Table,
    column: &'static catalog::Column,
) -> Vec<u8> {
    let mut payload = definition(&ResultColumn {
        name: column.name.to_owned(),
        kind: column.kind,
        origin: Some(super::typing::Origin {
            alias: table.name.to_owned(),
            schema: table.schema,
            table: table.name,
            column: column.name,
        }),
    });
    payload.push(0xFB);
    payload
}

/// A column as opensrv wants it, so that it writes cells of the right type.
pub fn opensrv_column(column: &ResultColumn) -> Column {
    let coltype = match column.kind {
        Type::BigInt => ColumnType::MYSQL_TYPE_LONGLONG,
        Type::Bool => ColumnType::MYSQL_TYPE_TINY,
        Type::Double => ColumnType::MYSQL_TYPE_DOUBLE,
        Type::Datetime => ColumnType::MYSQL_TYPE_DATETIME,
        Type::Varchar(_) | Type::Name(_) | Type::Text => ColumnType::MYSQL_TYPE_VAR_STRING,
    };
    Column {
        table: String::new(),
        column: column.name.clone(),
        coltype,
        colflags: ColumnFlags::empty(),
    }
}

/// One cell of a result, with the type of its column.
pub struct Cell<'a> {
    /// What stands in it.
    pub value: &'a Value,
    /// The type that its column was announced with; the engine has made sure that the value fits.
    pub kind: Type,
}

impl Cell<'_> {
    fn text(&self) -> Vec<u8> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Real(number) => real_text(*number).into_bytes(),
            Value::Text(text) => text.as_bytes().to_vec(),
        }
    }
}

impl ToMysqlValue for Cell<'_> {
    fn to_mysql_text<W: Write>(&self, w: &mut W) -> io::Result<()> {
        let mut cell = Vec::new();
        match self.value {
            Value::Null => cell.push(0xFB),
            _ => put_lenenc_bytes(&mut cell, &self.text()),
        }
        w.write_all(&cell)
    }

    fn to_mysql_bin<W: Write>(&self, w: &mut W, _: &Column) -> io::Result<()> {
        let unfit = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "a value does not fit its column",
            )
        };
        match (self.kind, self.value) {
            (Type::BigInt, Value::Int(number)) => w.write_all(&number.to_le_bytes()),
            (Type::Bool, Value::Int(number)) => {
                w.write_all(&[(*number).clamp(-128, 127) as i8 as u8])
            }
            (Type::Double, Value::Int(number)) => w.write_all(&(*number as f64).to_le_bytes()),
            (Type::Double, Value::Real(number)) => w.write_all(&number.to_le_bytes()),
            (Type::Datetime, Value::Text(text)) => {
                w.write_all(&datetime(&Moment::parse(text).ok_or_else(unfit)?))
            }
            (Type::Varchar(_) | Type::Name(_) | Type::Text, _) => {
                let mut cell = Vec::new();
                put_lenenc_bytes(&mut cell, &self.text());
                w.write_all(&cell)
            }
            _ => Err(unfit()),
        }
    }

    fn is_null(&self) -> bool {
        *self.value == Value::Null
    }
}

/// A DATETIME in the binary protocol, in its full form.
fn datetime(moment: &Moment) -> [u8; 12] {
    let [year, century] = (moment.year as u16).to_le_bytes();
    let [a, b, c, d] = (moment.micro as u32).to_le_bytes();
    let small = |number: i64| number as u8;
    [
        11,
        year,
        century,
        small(moment.month),
        small(moment.day),
        small(moment.hour),
        small(moment.minute),
        small(moment.second),
        a,
        b,
        c,
        d,
    ]
}

/// A parameter as it came, into a value. `type_code` carries the unsigned flag in 0x8000.
///
/// # Errors
/// `Parameters` for text that is not UTF-8, for a type that no statement here takes, and for bytes that are too short.
pub fn parameter(type_code: u16, bytes: &[u8]) -> Result<Value, Error> {
    let short = || Error::Parameters("a value is too short for its type".to_owned());
    let unsigned = type_code & 0x8000 != 0;
    let value = match type_code as u8 {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 | 0x0D => integer(bytes, unsigned).ok_or_else(short)?,
        0x04 => {
            let number = f32::from_le_bytes(bytes.try_into().map_err(|_| short())?);
            // Through its shortest text: 0.1 as a FLOAT means 0.1 and not 0.10000000149.
            Value::from(
                number
                    .to_string()
                    .parse::<f64>()
                    .unwrap_or(f64::from(number)),
            )
        }
        0x05 => Value::from(f64::from_le_bytes(bytes.try_into().map_err(|_| short())?)),
        0x06 => Value::Null,
        0x07 | 0x0A | 0x0C | 0x11 | 0x12 => date_parameter(bytes).ok_or_else(short)?,
        0x0B | 0x13 => time_parameter(bytes).ok_or_else(short)?,
        0x00 | 0x0F | 0xF5..=0xFE => std::str::from_utf8(bytes)
            .map_err(|_| Error::Parameters("text that is not UTF-8".to_owned()))?
            .into(),
        other => return Err(Error::Parameters(format!("type {other} is not supported"))),
    };
    Ok(value)
}

fn integer(bytes: &[u8], unsigned: bool) -> Option<Value> {
    let mut wide = [0u8; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let number = u64::from_le_bytes(wide);
    if unsigned {
        // Beyond BIGINT only a floating point number is near.
        return Some(i64::try_from(number).map_or(Value::Real(number as f64), Value::Int));
    }
    let shift = 64 - 8 * u32::try_from(bytes.len()).ok()?;
    Some(Value::Int(((number.checked_shl(shift)?) as i64) >> shift))
}

fn date_parameter(bytes: &[u8]) -> Option<Value> {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    if !matches!(bytes.len(), 0 | 4 | 7 | 11) {
        return None;
    }
    let year = u16::from_le_bytes([at(0), at(1)]);
    let mut text = format!("{year:04}-{:02}-{:02}", at(2), at(3));
    if bytes.len() > 4 {
        text += &format!(" {:02}:{:02}:{:02}", at(4), at(5), at(6));
    }
    if bytes.len() > 7 {
        text += &format!(".{:06}", u32::from_le_bytes([at(7), at(8), at(9), at(10)]));
    }
    Some(text.into())
}

fn time_parameter(bytes: &[u8]) -> Option<Value> {
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    if !matches!(bytes.len(), 0 | 8 | 12) {
        return None;
    }
    let days = u32::from_le_bytes([at(1), at(2), at(3), at(4)]);
    let hours = u64::from(days) * 24 + u64::from(at(5));
    let sign = if at(0) == 0 { "" } else { "-" };
    let mut text = format!("{sign}{hours:02}:{:02}:{:02}", at(6), at(7));
    if bytes.len() > 8 {
        text += &format!(".{:06}", u32::from_le_bytes([at(8), at(9), at(10), at(11)]));
    }
    Some(text.into())
}

/// A COM_STMT_EXECUTE in the one form that reaches opensrv: every type sent, three types only, no cursor, no attributes.
pub fn execute_packet(statement_id: u32, values: &[Value]) -> Vec<u8> {
    let mut payload = vec![crate::protocol::command::Command::StmtExecute.byte()];
    payload.extend_from_slice(&statement_id.to_le_bytes());
    payload.extend_from_slice(&[0, 1, 0, 0, 0]);
    if values.is_empty() {
        return payload;
    }
    let mut nulls = vec![0u8; values.len().div_ceil(8)];
    for (at, _) in values
        .iter()
        .enumerate()
        .filter(|(_, value)| **value == Value::Null)
    {
        if let Some(byte) = nulls.get_mut(at / 8) {
            *byte |= 1 << (at % 8);
        }
    }
    payload.extend_from_slice(&nulls);
    payload.push(1);
    for value in values {
        let code = match value {
            Value::Int(_) => column_type::LONGLONG,
            Value::Real(_) => column_type::DOUBLE,
            Value::Null | Value::Text(_) => column_type::VAR_STRING,
        };
        payload.extend_from_slice(&[code, 0]);
    }
    for value in values {
        match value {
            Value::Null => {}
            Value::Int(number) => payload.extend_from_slice(&number.to_le_bytes()),
            Value::Real(number) => payload.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => {
                put_lenenc(&mut payload, text.len() as u64);
                payload.extend_from_slice(text.as_bytes());
            }
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_every_type() {
        let read = |code: u16, bytes: &[u8]| parameter(code, bytes);
        for (code, bytes, value) in [
            (0x01, &[0xFF][..], Value::Int(-1)),
            (0x8001, &[0xFF], Value::Int(255)),
            (0x02, &[0x00, 0x80], Value::Int(-32768)),
            (0x03, &[1, 0, 0, 0], Value::Int(1)),
            (0x08, &[0xFF; 8], Value::Int(-1)),
            (0x8008, &[0xFF; 8], Value::Real(u64::MAX as f64)),
            (0x04, &0.1f32.to_le_bytes(), Value::Real(0.1)),
            (0x05, &2.5f64.to_le_bytes(), Value::Real(2.5)),
            (0x0A, &[0xE8, 0x07, 2, 29], "2024-02-29".into()),
            (
                0x0C,
                &[0xE8, 0x07, 2, 29, 1, 2, 3],
                "2024-02-29 01:02:03".into(),
            ),
            (
                0x07,
                &[0xE8, 0x07, 2, 29, 1, 2, 3, 4, 0, 0, 0],
                "2024-02-29 01:02:03.000004".into(),
            ),
            (0x0B, &[1, 1, 0, 0, 0, 2, 3, 4], "-26:03:04".into()),
            (0xFD, "ö".as_bytes(), "ö".into()),
            (0xF6, b"1.50", "1.50".into()),
        ] {
            assert_eq!(read(code, bytes), Ok(value), "{code:#x}");
        }
        for (code, bytes) in [
            (0x05, &[1u8][..]),
            (0x0C, &[1]),
            (0xFD, &[0xFF]),
            (0xF1, &[1]),
            (0x08, &[0; 9]),
        ] {
            assert_eq!(read(code, bytes).unwrap_err().number(), 1210, "{code:#x}");
        }
    }

    #[test]
    fn definitions_say_what_the_column_is() {
        let payload = definition(&ResultColumn {
            name: "n".to_owned(),
            kind: Type::Double,
            origin: None,
        });
        let parsed = ColumnDefinition::parse(&payload).unwrap();
        assert_eq!(parsed.type_code, column_type::DOUBLE);
        assert_eq!(parsed.decimals, DECIMALS_NOT_FIXED);
        assert_eq!((parsed.collation, parsed.length), (COLLATION_BINARY, 22));
        let table = catalog::find("tidegate", "queries").unwrap();
        let field = field_definition(table, &table.columns[0]);
        let parsed = ColumnDefinition::parse(&field[..field.len() - 1]).unwrap();
        assert_eq!(
            (parsed.schema, parsed.org_table, parsed.org_name),
            (&b"tidegate"[..], &b"queries"[..], &b"digest"[..])
        );
        assert_eq!(parsed.length, 32 * 4);
    }

    #[test]
    fn an_execute_packet_is_read_back() {
        use crate::protocol::command::Execute;
        let values = [Value::Int(-5), Value::Null, Value::Real(1.5), "x".into()];
        let payload = execute_packet(9, &values);
        let execute = Execute::parse(&payload[1..]).unwrap();
        assert_eq!(execute.statement_id, 9);
        let mut read = Vec::new();
        let parameters = execute.parameters(0, values.len()).unwrap();
        parameters
            .for_each(
                None,
                |_| false,
                |_, found| {
                    read.push(
                        found
                            .value
                            .map_or(Ok(Value::Null), |bytes| parameter(found.type_code, bytes)),
                    );
                },
            )
            .unwrap();
        assert_eq!(
            read.into_iter().collect::<Result<Vec<_>, _>>().unwrap(),
            values
        );
    }
}
