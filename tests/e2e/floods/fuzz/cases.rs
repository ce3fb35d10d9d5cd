//! The garbage itself: what looks like a packet and is none, made from dice that fall the same way for the same seed.

use crate::support::raw::{claimed, packet};

/// Pseudo-random numbers, the same on every machine (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Up to `most` random bytes; often none, often few.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let most = [0, 1, 5, 40, most][self.below(5)];
        let count = self.below(most + 1);
        (0..count).map(|_| self.byte()).collect()
    }

    /// Changes, cuts or lengthens what was right.
    fn spoil(&mut self, mut right: Vec<u8>) -> Vec<u8> {
        match self.below(4) {
            0 => right.truncate(self.below(right.len() + 1)),
            1 => right.extend(self.bytes(300)),
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(right.len().max(1));
                    if let Some(byte) = right.get_mut(at) {
                        *byte = [0, 1, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, self.byte()][self.below(8)];
                    }
                }
            }
        }
        right
    }

    /// A payload in a packet that may lie about its length or its number.
    fn wrap(&mut self, sequence: u8, payload: &[u8]) -> Vec<u8> {
        match self.below(20) {
            0 => claimed(self.below(1 << 24), sequence, payload),
            1 => claimed(0xFF_FFFF, sequence, payload),
            2 => packet(self.byte(), payload),
            3 => claimed(payload.len() + 1, sequence, payload),
            4 => claimed(payload.len().saturating_sub(1), sequence, payload),
            _ => packet(sequence, payload),
        }
    }
}

/// Capabilities of an ordinary client.
const CAPABILITIES: u32 = 0x01BF_F7EF & !0x0800;

/// A handshake response as it should be, but for the proof.
fn response(dice: &mut Dice, plugin: &str) -> Vec<u8> {
    let mut out = CAPABILITIES.to_le_bytes().to_vec();
    out.extend((1_u32 << 30).to_le_bytes());
    out.push(45);
    out.extend([0; 23]);
    out.extend([&b"app\0"[..], b"fuzz\0", b"\0", b"nobody at all\0"][dice.below(4)]);
    let length = [0, 1, 20, 32, 250][dice.below(5)];
    out.push(length);
    out.extend((0..length).map(|_| dice.byte()));
    out.extend(b"mysql\0");
    out.extend(plugin.as_bytes());
    out.push(0);
    let attributes = b"\x0cprogram_name\x04fuzz\x04_pid\x011";
    out.push(attributes.len() as u8);
    out.extend(attributes);
    out
}

fn tls_request(dice: &mut Dice) -> Vec<u8> {
    let mut out = (CAPABILITIES | 0x0800).to_le_bytes().to_vec();
    out.extend((0..4).map(|_| dice.byte()));
    out.push(45);
    out.extend([0; 23]);
    out
}

/// What a client sends after the greeting in place of a login.
pub fn login(dice: &mut Dice, greeting: &[u8]) -> Vec<Vec<u8>> {
    const PLUGINS: [&str; 7] = [
        "caching_sha2_password",
        "mysql_native_password",
        "sha256_password",
        "mysql_clear_password",
        "client_ed25519",
        "",
        "authentication_of_nobody",
    ];
    let plugin = PLUGINS[dice.below(PLUGINS.len())];
    let right = response(dice, plugin);
    match dice.below(12) {
        0 => vec![dice.bytes(2000)],
        1 => vec![b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()],
        2 => vec![packet(1, &tls_request(dice)), dice.bytes(500)],
        3 => {
            // A record of TLS that says it is a client hello, and is none.
            let hello = dice.bytes(400);
            let mut record = vec![0x16, 3, 1];
            record.extend((hello.len() as u16).to_be_bytes());
            vec![packet(1, &tls_request(dice)), record, hello]
        }
        4 => vec![packet(1, &tls_request(dice)), packet(2, &tls_request(dice))],
        5 => vec![packet(0, greeting), right],
        6 => {
            let request = tls_request(dice);
            let spoilt = dice.spoil(request);
            vec![dice.wrap(1, &spoilt)]
        }
        7 | 8 => {
            let spoilt = dice.spoil(right);
            vec![dice.wrap(1, &spoilt)]
        }
        // A response that is heard, and then answers to whatever is asked.
        _ => {
            let mut all = vec![packet(1, &right)];
            for sequence in (3..).step_by(2).take(dice.below(4)) {
                let answer = match dice.below(5) {
                    0 => vec![2],
                    1 => vec![],
                    2 => (0..256).map(|_| dice.byte()).collect(),
                    _ => dice.bytes(300),
                };
                all.push(dice.wrap(sequence, &answer));
            }
            all
        }
    }
}

/// One command, or what stands in its place.
pub fn command(dice: &mut Dice, statement: u32) -> Vec<Vec<u8>> {
    let payload = match dice.below(16) {
        0 => [vec![dice.byte()], dice.bytes(300)].concat(),
        1 => vec![dice.below(32) as u8],
        2 => [vec![dice.below(32) as u8], dice.bytes(60)].concat(),
        3 | 4 => text(dice),
        5..=8 => execution(dice, statement),
        9 => [
            vec![0x18],
            statement.to_le_bytes().to_vec(),
            dice.bytes(2000),
        ]
        .concat(),
        10 => {
            let body = [&statement.to_le_bytes()[..], &dice.bytes(8)].concat();
            [vec![[0x19, 0x1A, 0x1C][dice.below(3)]], dice.spoil(body)].concat()
        }
        11 => {
            let body = b"app\0\x20aaaaaaaabbbbbbbbccccccccdddddddd\0\x2d\0caching_sha2_password\0\x03\x01a\x01"
                .to_vec();
            [vec![0x11], dice.spoil(body)].concat()
        }
        12 => [vec![0x16], dice.spoil(b"SELECT ? + ?, @a".to_vec())].concat(),
        13 => [&[0x04][..], &dice.spoil(b"mysql\0%".to_vec())].concat(),
        14 => return oversize(dice),
        _ => Vec::new(),
    };
    // A command of the wrong number ends the connection: not often, or nothing that follows is ever heard.
    match dice.below(4) {
        0 => vec![dice.wrap(0, &payload)],
        _ => vec![packet(0, &payload)],
    }
}

/// COM_QUERY, with attributes before the text that are right or not.
fn text(dice: &mut Dice) -> Vec<u8> {
    const TEXTS: [&[u8]; 12] = [
        b"SELECT 1",
        b"SELECT 1; SELECT 2; SELECT",
        b"LOAD DATA LOCAL INFILE '/none' INTO TABLE mysql.t",
        b"SELECT 'a",
        b"/* SELECT 1",
        b"SELECT \xff\xfe\x00\x00 FROM `",
        b"EXPLAIN ROUTE SELECT 1; ",
        b"KILL CONNECTION 99999999999999999999",
        b"SET NAMES gbk",
        b"USE `",
        b"SELECT (((((((((((((((((((((((((((((((((",
        b"PREPARE s FROM 'SELECT ?'; EXECUTE s USING @a, @b",
    ];
    let mut out = vec![0x03];
    match dice.below(3) {
        0 => out.extend([0, 1]),
        1 => {
            // One attribute, by name: a number.
            let attribute = [&[1, 1, 0, 1, 8, 0, 1, b'n'][..], &7_u64.to_le_bytes()].concat();
            out.extend(dice.spoil(attribute));
        }
        _ => out.extend(dice.bytes(20)),
    }
    let text = TEXTS[dice.below(TEXTS.len())].to_vec();
    out.extend(match dice.below(3) {
        0 => dice.spoil(text),
        _ => text,
    });
    out
}

/// COM_STMT_EXECUTE of a statement with two parameters, cut and bent.
fn execution(dice: &mut Dice, statement: u32) -> Vec<u8> {
    let mut body = statement.to_le_bytes().to_vec();
    body.push([0, 1, 8, 9, 0xFF][dice.below(5)]);
    body.extend([1, 0, 0, 0]);
    if dice.below(2) == 0 {
        body.push(2); // the count, where attributes were agreed on
    }
    body.extend([dice.below(4) as u8, dice.below(3) as u8]);
    let types = [0xFD, 8, 3, 12, 11, 246, 0x0F, 245];
    for _ in 0..2 {
        body.extend([types[dice.below(types.len())], 0, 0]);
    }
    body.extend(b"\x03abc");
    body.extend(7_u64.to_le_bytes());
    let body = match dice.below(4) {
        0 => body,
        _ => dice.spoil(body),
    };
    [vec![0x17], body].concat()
}

/// More than is held: announced and not sent, or sent.
fn oversize(dice: &mut Dice) -> Vec<Vec<u8>> {
    let command = [0x03, 0x16, 0x17, 0x18, 0x02, 0x0E, 0x11][dice.below(7)];
    let mut announced = claimed(0xFF_FFFF, 0, &[command]);
    announced.extend(dice.bytes(3000));
    match dice.below(40) {
        0 => {
            // A whole chain: a full packet and the one that ends it.
            let mut full = vec![b' '; 0xFF_FFFF];
            full[0] = command;
            vec![packet(0, &full), packet([1, 7][dice.below(2)], b"x")]
        }
        1 => vec![packet(0, &[&[command][..], &[b'x'; 2_000_000]].concat())],
        _ => vec![announced],
    }
}
