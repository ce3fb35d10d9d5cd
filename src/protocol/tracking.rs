//! OK packets on their way to a client that did not ask for all that they say: the backend connection reports session state for
//! our sake. Rewrites one packet; never decides what is hidden.

use super::packet::{Cursor, put_lenenc_bytes, write_packet};
use super::response::{EOF_HEADER, OkPacket};
use super::{ProtocolError, Result, capability, status};

/// What of the session state is ours alone.
#[derive(Debug, Clone, Copy)]
pub struct Hidden {
    /// The report that some state changed (kind 2).
    pub state_changes: bool,
    /// The report of the GTIDs of a commit (kind 3).
    pub gtids: bool,
    /// Where nothing else is left and a transaction is open, the packet still says that state changed: as MySQL 9.7.4 does when a
    /// statement ends a transaction and begins another.
    pub leaves_mark: bool,
    /// The report of a variable with this name (kind 0).
    pub is_variable: fn(&[u8]) -> bool,
}

/// Appends the OK packet `payload`, which came by a connection with `from_caps`, as a client with `to_caps` is to see it. `owed`: what
/// was reported for the client with an answer that it did not get.
///
/// # Errors
/// The packet is none.
pub fn write_ok(
    payload: &[u8],
    from_caps: u32,
    to_caps: u32,
    hidden: &Hidden,
    owed: &[u8],
    out: &mut Vec<u8>,
    mut sequence: u8,
) -> Result<()> {
    let mut ok = OkPacket::parse(payload, from_caps)?;
    let mut shown = Vec::new();
    if !ok.session_state.is_empty() {
        show(ok.session_state, hidden, &mut shown)
            .ok_or(ProtocolError::Malformed("session state"))?;
    }
    if !owed.is_empty() {
        shown = merged(owed, &shown).ok_or(ProtocolError::Malformed("session state"))?;
    }
    if owed.is_empty()
        && (from_caps ^ to_caps) & capability::SESSION_TRACK == 0
        && shown.len() == ok.session_state.len()
    {
        // As it stands: servers pad what they write (9.7.4 at a BEGIN in a transaction).
        write_packet(out, &mut sequence, payload);
        return Ok(());
    }
    ok.session_state = &shown;
    let is_marked = hidden.leaves_mark
        && shown.is_empty()
        && to_caps & capability::SESSION_TRACK != 0
        && ok.status & status::IN_TRANS != 0;
    if is_marked {
        ok.write_marked(out, &mut sequence);
    } else {
        let as_eof = payload.first() == Some(&EOF_HEADER);
        ok.write(out, &mut sequence, to_caps, as_eof);
    }
    Ok(())
}

/// Session state that came with an answer which the client does not get: it is owed what of it is not hidden.
pub fn owe(owed: &mut Vec<u8>, state: &[u8], hidden: &Hidden) {
    let mut shown = Vec::new();
    if show(state, hidden, &mut shown).is_some()
        && let Some(all) = merged(owed, &shown)
    {
        *owed = all;
    }
}

/// Two reports as one: of the same thing the later one counts, and the kinds stand in their order.
fn merged(earlier: &[u8], later: &[u8]) -> Option<Vec<u8>> {
    let entries = |state| {
        let mut cursor = Cursor::new(state);
        let mut entries = Vec::new();
        while !cursor.is_empty() {
            let (kind, data): (u8, &[u8]) = (cursor.u8()?, cursor.lenenc_bytes()?);
            let name = match kind {
                0 => Cursor::new(data).lenenc_bytes()?,
                _ => b"",
            };
            entries.push((kind, name, data));
        }
        Some(entries)
    };
    let mut all = entries(later)?;
    for entry in entries(earlier)? {
        let is_told = |other: &(u8, &[u8], &[u8])| other.0 == entry.0 && other.1 == entry.1;
        if !all.iter().any(is_told) {
            all.push(entry);
        }
    }
    all.sort_by_key(|(kind, ..)| *kind);
    let mut out = Vec::with_capacity(earlier.len() + later.len());
    for (kind, _, data) in all {
        out.push(kind);
        put_lenenc_bytes(&mut out, data);
    }
    Some(out)
}

/// Copies what is not hidden, as it stands.
fn show(state: &[u8], hidden: &Hidden, shown: &mut Vec<u8>) -> Option<()> {
    let mut cursor = Cursor::new(state);
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let data = cursor.lenenc_bytes()?;
        let is_hidden = match kind {
            0 => (hidden.is_variable)(Cursor::new(data).lenenc_bytes()?),
            2 => hidden.state_changes,
            3 => hidden.gtids,
            _ => false,
        };
        if !is_hidden {
            shown.push(kind);
            put_lenenc_bytes(shown, data);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: u32 = capability::PROTOCOL_41 | capability::SESSION_TRACK;
    const HIDDEN: Hidden = Hidden {
        state_changes: true,
        gtids: true,
        leaves_mark: false,
        is_variable: |name| name == b"timestamp",
    };

    fn entry(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut data = Vec::new();
        parts.iter().for_each(|p| put_lenenc_bytes(&mut data, p));
        let mut out = vec![kind];
        put_lenenc_bytes(&mut out, &data);
        out
    }

    fn rewritten(state: &[u8], info: &[u8], to_caps: u32) -> Vec<u8> {
        let mut packet = Vec::new();
        OkPacket {
            affected_rows: 3,
            status: 2,
            info,
            session_state: state,
            ..OkPacket::default()
        }
        .write(&mut packet, &mut 1, TRACK, false);
        let mut out = Vec::new();
        write_ok(&packet[4..], TRACK, to_caps, &HIDDEN, &[], &mut out, 1).unwrap();
        out
    }

    #[test]
    fn what_nobody_asked_for_is_left_out() {
        let schema = entry(1, &[b"shop"]);
        let all = [
            entry(0, &[b"timestamp", b"5"]),
            schema.clone(),
            entry(2, &[b"1"]),
            entry(3, &[b"", b"3e11fa47-71ca-11e1-9e33-c80aa9429562:7"]),
        ]
        .concat();
        let out = rewritten(&all, b"", TRACK);
        let ok = OkPacket::parse(&out[4..], TRACK).unwrap();
        assert_eq!(ok.session_state, schema);
        assert_ne!(ok.status & status::SESSION_STATE_CHANGED, 0);
    }

    #[test]
    fn an_ok_with_nothing_left_is_the_plain_one() {
        let out = rewritten(&entry(2, &[b"1"]), b"", TRACK);
        assert_eq!(out, rewritten(b"", b"", TRACK));
        assert_eq!(out.len(), 4 + 7);
    }

    #[test]
    fn a_transaction_behind_another_leaves_its_mark() {
        let mut packet = Vec::new();
        let state = entry(2, &[b"1"]);
        OkPacket {
            status: status::IN_TRANS,
            session_state: &state,
            ..OkPacket::default()
        }
        .write(&mut packet, &mut 1, TRACK, false);
        let hidden = Hidden {
            leaves_mark: true,
            ..HIDDEN
        };
        let mut out = Vec::new();
        write_ok(&packet[4..], TRACK, TRACK, &hidden, &[], &mut out, 1).unwrap();
        assert_eq!(out[4..], [0, 0, 0, 1, 0x40, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_owed_comes_with_the_next_one() {
        let variable = |value: &[u8]| entry(0, &[b"time_zone", value]);
        let mut owed = Vec::new();
        owe(
            &mut owed,
            &[variable(b"UTC"), entry(2, &[b"1"])].concat(),
            &HIDDEN,
        );
        owe(&mut owed, &entry(5, &[b"T_______"]), &HIDDEN);
        assert_eq!(owed, [variable(b"UTC"), entry(5, &[b"T_______"])].concat());
        let later = [variable(b"SYSTEM"), entry(1, &[b"shop"])].concat();
        let all = [later.clone(), entry(5, &[b"T_______"])].concat();
        assert_eq!(merged(&owed, &later), Some(all));
    }

    #[test]
    fn a_client_without_trackers_gets_its_own_form() {
        let out = rewritten(
            &entry(1, &[b"shop"]),
            b"Rows matched: 3",
            capability::PROTOCOL_41,
        );
        assert!(out.ends_with(b"\x0fRows matched: 3"));
        assert_eq!(out[7..9], 2u16.to_le_bytes());
    }

    #[test]
    fn broken_state_is_an_error() {
        let mut packet = Vec::new();
        OkPacket {
            session_state: &[0, 200, 1],
            ..OkPacket::default()
        }
        .write(&mut packet, &mut 1, TRACK, false);
        let written = write_ok(&packet[4..], TRACK, TRACK, &HIDDEN, &[], &mut Vec::new(), 1);
        assert!(written.is_err());
    }
}
