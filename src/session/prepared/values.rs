//! Values of parameters in the binary protocol: how they are read for a view's checks, and written again in another order. Pure.

use crate::protocol::column::column_type;
use crate::protocol::packet::Cursor;
use crate::views::pattern::check::ParameterValue;

/// The kind of length that stands before a value of this type in the binary protocol.
pub fn put_value(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    match code as u8 {
        6 | column_type::TINY | column_type::SHORT | column_type::YEAR => {}
        column_type::LONG | column_type::INT24 | column_type::FLOAT => {}
        column_type::LONGLONG | column_type::DOUBLE => {}
        column_type::DATE | column_type::DATETIME | column_type::TIMESTAMP | column_type::TIME => {
            out.push(value.len() as u8);
        }
        _ => crate::protocol::packet::put_lenenc(out, value.len() as u64),
    }
    out.extend_from_slice(value);
}

/// The value of a parameter of this type, as far as a view asks about it.
pub fn parameter_value(code: u16, value: &[u8]) -> ParameterValue<'_> {
    let unsigned = code & 0x8000 != 0;
    let integer = || {
        let mut wide = [if !unsigned && value.last().is_some_and(|b| b & 0x80 != 0) {
            0xFF
        } else {
            0
        }; 16];
        if let Some(low) = wide.get_mut(..value.len()) {
            low.copy_from_slice(value);
        }
        ParameterValue::Int(i128::from_le_bytes(wide))
    };
    match code as u8 {
        column_type::TINY | column_type::SHORT | column_type::LONG | column_type::LONGLONG
            if value.len() <= 8 =>
        {
            integer()
        }
        column_type::DOUBLE => match value.try_into() {
            Ok(bytes) => ParameterValue::Double(f64::from_le_bytes(bytes)),
            Err(_) => ParameterValue::Other,
        },
        column_type::FLOAT => match value.try_into() {
            Ok(bytes) => ParameterValue::Double(f64::from(f32::from_le_bytes(bytes))),
            Err(_) => ParameterValue::Other,
        },
        column_type::DATE | column_type::DATETIME | column_type::TIMESTAMP => moment(value),
        0 | 15 | column_type::NEWDECIMAL | column_type::VAR_STRING | column_type::STRING => {
            ParameterValue::Bytes(value)
        }
        _ => ParameterValue::Other,
    }
}

/// Year, month, day and what follows, as far as the value goes.
fn moment(value: &[u8]) -> ParameterValue<'_> {
    let mut cursor = Cursor::new(value);
    let mut parts = [0u32; 7];
    let mut read = || -> Option<()> {
        parts[0] = u32::from(cursor.u16()?);
        for part in &mut parts[1..3] {
            *part = u32::from(cursor.u8()?);
        }
        if !cursor.is_empty() {
            for part in &mut parts[3..6] {
                *part = u32::from(cursor.u8()?);
            }
        }
        if !cursor.is_empty() {
            parts[6] = cursor.u32()?;
        }
        cursor.is_empty().then_some(())
    };
    match read() {
        Some(()) => ParameterValue::Moment(parts),
        None => ParameterValue::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_keep_their_sign() {
        let int = |code, bytes: &'static [u8]| parameter_value(code, bytes);
        assert!(matches!(int(8, &[0xFF; 8]), ParameterValue::Int(-1)));
        assert!(
            matches!(int(0x8008, &[0xFF; 8]), ParameterValue::Int(v) if v == i128::from(u64::MAX))
        );
        assert!(matches!(int(1, &[5]), ParameterValue::Int(5)));
    }

    #[test]
    fn moments_are_read_as_far_as_they_go() {
        assert!(matches!(
            moment(&[0xE8, 7, 2, 29]),
            ParameterValue::Moment([2024, 2, 29, 0, 0, 0, 0])
        ));
        assert!(matches!(moment(&[0xE8, 7, 2]), ParameterValue::Other));
        assert!(matches!(moment(&[]), ParameterValue::Other));
    }
}
