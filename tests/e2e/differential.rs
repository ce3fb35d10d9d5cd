//! The same session twice: at the server, and through the proxy in front of it. Every byte of every response must be the same,
//! but for the numbers of prepared statements. Cases are tests/cases/sql/*.sql: blocks parted by blank lines, each sent as it is
//! by COM_QUERY. Comment lines before a block direct it:
//!   -- prepared              also (or, with parameters, instead) by COM_STMT_PREPARE and COM_STMT_EXECUTE
//!   -- parameters: 5, 'a', NULL   one execution with these; the line may stand several times
//!   -- file: a,b\nc,d        what LOAD DATA LOCAL gets

use std::path::PathBuf;

use crate::support::mysql::Flavour;
use crate::support::wire::{
    DEPRECATE_EOF, FOUND_ROWS, LOCAL_FILES, MULTI_STATEMENTS, Packet, Parameter, SESSION_TRACK,
    Wire,
};
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, process};

/// One block of a case file.
struct Step {
    sql: String,
    prepared: bool,
    executions: Vec<Vec<Parameter>>,
    file: Vec<u8>,
}

/// What one step gave: each response apart.
type Responses = Vec<Vec<Packet>>;

const MODERN: u32 = DEPRECATE_EOF | SESSION_TRACK | MULTI_STATEMENTS | LOCAL_FILES;
const PLAIN: u32 = MULTI_STATEMENTS | LOCAL_FILES | FOUND_ROWS;

#[test]
fn a_modern_client_sees_the_same_bytes() {
    compare_all(&MySql::start(&[]), MODERN);
}

#[test]
fn a_client_without_session_tracking_and_with_eof_packets_sees_the_same_bytes() {
    compare_all(&MySql::start(&[]), PLAIN);
}

#[test]
fn mariadb_gives_the_same_bytes() {
    compare_all(&MySql::start_mariadb(&[]), MODERN);
}

/// Runs each case file directly, then through the proxy, in a schema made anew, and compares.
fn compare_all(server: &MySql, capabilities: u32) {
    let gate = Tidegate::of(server).start();
    let mut steps_compared = 0;
    for file in case_files() {
        let text = std::fs::read_to_string(&file).expect("a readable case file");
        if server.flavour == Flavour::MariaDb && text.starts_with("-- MySQL only") {
            continue;
        }
        let steps = parse(&text);
        let direct = session(server, server.port, &steps, capabilities);
        let proxied = session(server, gate.app_port, &steps, capabilities);
        for ((step, direct), proxied) in steps.iter().zip(&direct).zip(&proxied) {
            if let Some(difference) = difference(direct, proxied) {
                panic!("{}\n{}\n{difference}", file.display(), step.sql);
            }
            steps_compared += 1;
        }
    }
    assert!(
        steps_compared > 50,
        "only {steps_compared} statements were compared"
    );
}

fn case_files() -> Vec<PathBuf> {
    let folder = process::project().join("tests/cases/sql");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the case files")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// One connection, one fresh schema, all steps in order.
fn session(server: &MySql, port: u16, steps: &[Step], capabilities: u32) -> Vec<Responses> {
    server.run("DROP DATABASE IF EXISTS other; DROP DATABASE IF EXISTS diff; CREATE DATABASE diff; CREATE DATABASE other");
    let mut wire = match Wire::login(port, APP_USER, APP_PASSWORD, "diff", capabilities) {
        Ok(wire) => wire,
        Err(error) => panic!("refused: {}", String::from_utf8_lossy(&error)),
    };
    let responses = steps.iter().map(|step| run(&mut wire, step)).collect();
    wire.quit();
    responses
}

fn run(wire: &mut Wire, step: &Step) -> Responses {
    let sql = step.sql.as_bytes();
    let mut responses = Vec::new();
    if step.executions.is_empty() {
        responses.push(wire.query(sql, &step.file));
    }
    if step.prepared || !step.executions.is_empty() {
        let (mut packets, statement) = wire.prepare(sql);
        if let Some(statement) = statement {
            // The server numbers statements by itself.
            packets[0].payload[1..5].fill(0);
            let once = [Vec::new()];
            let executions = if step.executions.is_empty() {
                &once[..]
            } else {
                &step.executions[..]
            };
            for parameters in executions {
                responses.push(wire.execute(statement, parameters));
            }
            wire.close(statement);
        }
        responses.push(packets);
        // A command right after COM_STMT_CLOSE, which has no answer, shows that the two did not get out of step.
        responses.push(vec![wire.simple(&[0x0E])]);
    }
    responses
}

/// The first difference in words, with the bytes.
fn difference(direct: &Responses, proxied: &Responses) -> Option<String> {
    if direct.len() != proxied.len() {
        return Some(format!(
            "{} responses directly, {} proxied",
            direct.len(),
            proxied.len()
        ));
    }
    for (direct, proxied) in direct.iter().zip(proxied) {
        for (at, (one, other)) in direct.iter().zip(proxied).enumerate() {
            if one != other {
                return Some(format!(
                    "packet {at}\n  directly: {}\n  proxied:  {}",
                    shown(one),
                    shown(other)
                ));
            }
        }
        if direct.len() != proxied.len() {
            return Some(format!(
                "{} packets directly, {} proxied",
                direct.len(),
                proxied.len()
            ));
        }
    }
    None
}

fn shown(packet: &Packet) -> String {
    let length = packet.payload.len();
    let start = &packet.payload[..length.min(200)];
    format!(
        "number {}, {length} bytes: {}",
        packet.sequence,
        start.escape_ascii()
    )
}

fn parse(text: &str) -> Vec<Step> {
    let blocks = text
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty());
    blocks
        .map(parse_step)
        .filter(|step| !step.sql.is_empty())
        .collect()
}

fn parse_step(block: &str) -> Step {
    let mut step = Step {
        sql: String::new(),
        prepared: false,
        executions: Vec::new(),
        file: Vec::new(),
    };
    let mut lines = Vec::new();
    for line in block.lines() {
        if line == "-- prepared" {
            step.prepared = true;
        } else if let Some(list) = line.strip_prefix("-- parameters: ") {
            step.executions
                .push(list.split(", ").map(parameter).collect());
        } else if let Some(file) = line.strip_prefix("-- file: ") {
            step.file = file.replace("\\n", "\n").into_bytes();
        } else if !line.starts_with("-- ") {
            lines.push(line);
        }
    }
    let text = lines.join("\n");
    step.sql = text.strip_suffix(';').unwrap_or(&text).to_owned();
    step
}

fn parameter(text: &str) -> Parameter {
    match text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
    {
        Some(text) => Parameter::Text(text.as_bytes().to_vec()),
        None if text == "NULL" => Parameter::Null,
        None => Parameter::Integer(
            text.parse()
                .unwrap_or_else(|_| panic!("{text} is no parameter")),
        ),
    }
}

/// The comparison itself must be able to fail.
#[test]
fn a_differing_byte_is_found() {
    let packet = |payload: &[u8]| Packet {
        sequence: 1,
        payload: payload.to_vec(),
    };
    let base = vec![vec![packet(b"abc"), packet(b"d")]];
    assert_eq!(difference(&base, &base), None);
    assert!(difference(&base, &vec![vec![packet(b"abc"), packet(b"e")]]).is_some());
    assert!(difference(&base, &vec![vec![packet(b"abc")]]).is_some());
    assert!(difference(&base, &Vec::new()).is_some());
}

/// Two direct sessions agree, so that what differs through the proxy is the proxy's doing.
#[test]
fn the_cases_give_the_same_bytes_twice_at_the_server_itself() {
    let server = MySql::start(&[]);
    for file in case_files() {
        let steps = parse(&std::fs::read_to_string(&file).expect("a readable case file"));
        let (first, second) = (
            session(&server, server.port, &steps, MODERN),
            session(&server, server.port, &steps, MODERN),
        );
        for ((step, first), second) in steps.iter().zip(&first).zip(&second) {
            if let Some(difference) = difference(first, second) {
                panic!(
                    "{}: give this case a fixed answer\n{}\n{difference}",
                    file.display(),
                    step.sql
                );
            }
        }
    }
}
