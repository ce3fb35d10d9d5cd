//! What both programs share: the settings, the script, and how a line looks.

use sha2::Digest;

/// A setting that tests/clients/run gave.
pub fn env(name: &str) -> String {
    std::env::var(format!("CLIENT_{name}")).unwrap_or_else(|_| panic!("CLIENT_{name} is not set"))
}

/// Whether the connections are to use TLS.
pub fn tls() -> bool {
    env("TLS") == "yes"
}

/// The statements that every program goes through, each with its name.
pub fn script() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(env("SCRIPT")).expect("the script");
    let blocks = text.split("\n\n").filter(|block| !block.starts_with("--"));
    let named = blocks.enumerate().map(|(number, block)| {
        let start: String = block.chars().take(30).collect();
        (format!("script {number} {start}"), block.trim().to_owned())
    });
    named.collect()
}

/// One line.
pub fn say(mode: &str, section: &str, text: impl std::fmt::Display) {
    let text = text.to_string().replace('\n', "\\n");
    println!("{mode} {}: {text}", section.replace('\n', " "));
}

/// Bytes as text, or as length and digest when there are many.
pub fn bytes_shown(bytes: &[u8]) -> String {
    if bytes.len() > 200 {
        let digest = sha2::Sha256::digest(bytes);
        return format!("{} bytes {digest:x}", bytes.len());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("x{bytes:02x?}"),
    }
}

/// Statements that fail, and how.
pub const WRONG: &[&str] = &[
    "SELEKT",
    "SELECT * FROM missing",
    "INSERT INTO counters VALUES (1, 1)",
    "INSERT INTO counters VALUES (NULL, 1)",
    "SELECT (SELECT id FROM many)",
    "CALL nowhere()",
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'",
    "KILL QUERY 4000000000",
    "USE nowhere",
];

/// A value of 17 MiB.
pub fn large() -> Vec<u8> {
    b"abcdefghijklm".repeat(1_371_205)
}
