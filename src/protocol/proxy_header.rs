//! The header by which a proxy says for whom it connects (PROXY protocol, versions 1 and 2). Sans-IO: says how many bytes it needs
//! next, and never more than belong to the header, since what follows is the client's.
//!
//! Source of the rules: the specification that HAProxy publishes (proxy-protocol.txt).

use super::{ProtocolError, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The bytes that begin a header of version 2; no text and no MySQL packet begins so.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The words that begin one of version 1.
const WORD: &[u8] = b"PROXY ";
/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// Head of version 2: signature, version and command, family, length.
const HEAD_BYTES: usize = 16;
/// Most bytes behind that head: addresses, and what else proxies have to tell (certificates at most).
const BODY_BYTES_MAX: usize = 4 * 1024;
/// The shortest header of all ends behind these.
const FIRST_BYTES: usize = 12;

/// Where a header stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many more bytes belong to it at least.
    Wants(usize),
    /// It is whole, and names this client; `None`: the proxy speaks for itself, or does not know.
    Done(Option<SocketAddr>),
}

/// Reads what has come so far.
///
/// # Errors
/// This is no such header, or one for another kind of connection.
pub fn read(bytes: &[u8]) -> Result<Progress> {
    let Some(first) = bytes.get(..FIRST_BYTES) else {
        return Ok(Progress::Wants(FIRST_BYTES - bytes.len()));
    };
    match first {
        _ if first == SIGNATURE => read_binary(bytes),
        _ if first.starts_with(WORD) => read_line(bytes),
        _ => Err(MALFORMED),
    }
}

const MALFORMED: ProtocolError = ProtocolError::Malformed("PROXY header");

fn read_line(bytes: &[u8]) -> Result<Progress> {
    let Some(line) = bytes.strip_suffix(b"\n") else {
        return match bytes.len() {
            // Byte by byte: what follows the line is not ours.
            0..LINE_BYTES_MAX if !bytes.contains(&b'\n') => Ok(Progress::Wants(1)),
            _ => Err(MALFORMED),
        };
    };
    let line = line.strip_suffix(b"\r").ok_or(MALFORMED)?;
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(MALFORMED)?;
    if family == "UNKNOWN" {
        return Ok(Progress::Done(None));
    }
    let mut next = || words.next().ok_or(MALFORMED);
    let (source, _, port, target_port) = (next()?, next()?, next()?, next()?);
    let is_over = words.next().is_none();
    let ip: IpAddr = source.parse().map_err(|_| MALFORMED)?;
    let fits = match family {
        "TCP4" => ip.is_ipv4(),
        "TCP6" => ip.is_ipv6(),
        _ => false,
    };
    let (port, _) = (number(port)?, number(target_port)?);
    match fits && is_over {
        true => Ok(Progress::Done(Some(SocketAddr::new(ip, port)))),
        false => Err(MALFORMED),
    }
}

/// A port as text: digits and nothing else.
fn number(text: &str) -> Result<u16> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map_err(|_| MALFORMED),
        false => Err(MALFORMED),
    }
}

fn read_binary(bytes: &[u8]) -> Result<Progress> {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(Progress::Wants(HEAD_BYTES - bytes.len()));
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge {
            what: "PROXY header",
            bytes_max: BODY_BYTES_MAX,
        });
    }
    if body.len() < length {
        return Ok(Progress::Wants(length - body.len()));
    }
    let is_proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err(MALFORMED),
    };
    let source = match family {
        // For itself: whatever else it says does not count.
        _ if !is_proxied => None,
        // Unspecified, and Unix sockets of another machine.
        0x00 | 0x31 | 0x32 => None,
        0x11 => Some(address::<4, 12>(body, |ip| Ipv4Addr::from(ip).into()).ok_or(MALFORMED)?),
        0x21 => Some(address::<16, 36>(body, |ip| Ipv6Addr::from(ip).into()).ok_or(MALFORMED)?),
        _ => return Err(ProtocolError::Unsupported("PROXY header of that family")),
    };
    Ok(Progress::Done(source))
}

/// The source in a block of source, target, both ports.
fn address<const IP: usize, const BLOCK: usize>(
    body: &[u8],
    ip: impl Fn([u8; IP]) -> IpAddr,
) -> Option<SocketAddr> {
    let block = body.first_chunk::<BLOCK>()?;
    let source = *block.first_chunk::<IP>()?;
    let port = *block.get(IP * 2..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(ip(source), u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a caller does that takes exactly what is wanted; answers also how much it took.
    fn whole(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize)> {
        let mut taken = 0;
        loop {
            match read(&bytes[..taken])? {
                Progress::Done(source) => return Ok((source, taken)),
                Progress::Wants(more) => {
                    assert!(more > 0);
                    taken += more;
                    assert!(taken <= bytes.len(), "wants more than there is");
                }
            }
        }
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn lines() {
        let at = |text: &str| Some(text.parse().unwrap());
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 65535 3306\r\n",
                at("192.0.2.7:65535"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 1 3306\r\n",
                at("[2001:db8::7]:1"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let with_more = [line.as_bytes(), b"and then a client"].concat();
            assert_eq!(whole(&with_more), Ok((source, line.len())), "{line}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX));
        for line in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 3306\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +5 3306\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 5\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 5 6 7\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 5 6\r\n",
            "PROXY TCP4 ::1 198.51.100.1 5 6\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 5 6\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 5 6\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 5 6\r\n",
            "PROXY \r\n               ",
            "PROXYTCP4 192.0.2.7 ",
            "PROXY TCP4 \u{fc}\r\n",
            &long,
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(whole(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn binary_ones() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0x0c, 0xea];
        let v6 = [[0x20; 16], [0; 16]].concat();
        let v6 = [&v6[..], &[0, 1, 0, 2]].concat();
        let more = [&v4[..], &[0x04, 0, 2, 0, 0]].concat();
        let at = |text: &str| Some(text.parse().unwrap());
        for (header, source) in [
            (binary(0x21, 0x11, &v4), at("192.0.2.7:4660")),
            (binary(0x21, 0x11, &more), at("192.0.2.7:4660")),
            (
                binary(0x21, 0x21, &v6),
                at("[2020:2020:2020:2020:2020:2020:2020:2020]:1"),
            ),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
            (binary(0x21, 0x00, &[1, 2, 3]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let with_more = [&header[..], b"and then a client"].concat();
            assert_eq!(whole(&with_more), Ok((source, header.len())), "{header:?}");
        }
        for header in [
            binary(0x11, 0x11, &v4),
            binary(0x22, 0x11, &v4),
            binary(0x21, 0x12, &v4),
            binary(0x21, 0x11, &v4[..11]),
            binary(0x21, 0x21, &v4),
            binary(0x21, 0x77, &v4),
            binary(0x21, 0x11, &[0; BODY_BYTES_MAX + 1]),
        ] {
            assert!(whole(&header).is_err(), "{header:?}");
        }
    }

    #[test]
    fn noise_is_refused_or_read_and_never_more() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(4);
        let good = [
            b"PROXY TCP4 192.0.2.7 198.51.100.1 5 6\r\n".to_vec(),
            binary(0x21, 0x11, &[1; 12]),
            binary(0x21, 0x21, &[1; 60]),
        ];
        for round in 0..20_000 {
            let mut bytes = good[round % 3].clone();
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
            bytes.extend([b'\n'; BODY_BYTES_MAX + 200]);
            if let Ok((_, taken)) = whole(&bytes) {
                assert!(taken <= HEAD_BYTES + BODY_BYTES_MAX);
            }
        }
    }
}
