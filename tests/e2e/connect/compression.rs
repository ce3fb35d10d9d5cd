//! Compression on either side of Tidegate, both, and none: real clients get the same answers; hostile ones an error.

use std::io::Read;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use mysql_async::prelude::Queryable;

use crate::support::mysql::{Flavour, Launchers, options};
use crate::support::raw::{After, Raw, packet, query};
use crate::support::wire::Wire;
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, process};

const WAIT: Duration = Duration::from_secs(20);
/// Capability: zlib.
const COMPRESS: u32 = 0x0000_0020;
/// Capability: zstd.
const ZSTD: u32 = 0x0400_0000;
/// What the answers must not differ in: many packets, several results before a file is asked for, long ones in both directions.
const SCRIPT: &str = "
CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(200));
DELIMITER //
SELECT 1; SELECT 2 FROM DUAL WHERE 1 = 0; LOAD DATA LOCAL INFILE '@rows' INTO TABLE t FIELDS TERMINATED BY ','; SELECT COUNT(*), SUM(a), SUM(LENGTH(b)) FROM t; SELECT 3//
DELIMITER ;
SELECT * FROM t ORDER BY a;
SELECT SHA2(REPEAT(b, 300000), 256), LENGTH(REPEAT(b, 300000)) FROM t WHERE a = 77;
SELECT REPEAT(CONCAT(a, b), 100000) FROM t WHERE a BETWEEN 100 AND 110;
SELECT nothing FROM t;
SELECT NULL, NULL UNION ALL SELECT 1, NULL;
PREPARE p FROM 'SELECT a, b FROM t WHERE a < ?'; SET @n = 5; EXECUTE p USING @n; DEALLOCATE PREPARE p;
SELECT LENGTH('LONG'), SHA2('LONG', 256);
DROP TABLE t;
";

fn client(flavour: Flavour, port: u16, schema: &str, arguments: &[&str], script: &Path) -> Output {
    let mut client = Launchers::of(flavour).client();
    client
        .args([
            "-h127.0.0.1",
            &format!("-P{port}"),
            &format!("-u{APP_USER}"),
        ])
        .args([
            "--batch",
            "--force",
            "--local-infile=1",
            "--max-allowed-packet=64M",
        ])
        .args(arguments)
        .arg(schema)
        .env("MYSQL_PWD", APP_PASSWORD)
        .stdin(std::fs::File::open(script).expect("the script is there"));
    client.output().expect("the client runs")
}

fn script() -> std::path::PathBuf {
    let folder = process::new_folder("compression");
    let rows: String = (0..30_000)
        .map(|n| format!("{n},{}\n", "row of a file ".repeat(n % 10)))
        .collect();
    std::fs::write(folder.join("rows"), rows).expect("it can be written");
    let long: String = (0..3_000_000u64)
        .map(|n| char::from(b'a' + (n * n % 23) as u8))
        .collect();
    let text = SCRIPT
        .replace("@rows", &folder.join("rows").display().to_string())
        .replace("LONG", &long);
    std::fs::write(folder.join("script"), text).expect("it can be written");
    folder.join("script")
}

#[test]
fn every_pair_of_algorithms_gives_the_same_answers() {
    let server = MySql::start(&["--local-infile=ON", "--max-allowed-packet=64M"]);
    let schema = server.schema("compression");
    let script = script();
    let direct = |flavour| client(flavour, server.port, &schema, &[], &script).stdout;
    let expected = [Flavour::MySql, Flavour::MariaDb].map(direct);
    let length = expected[0].len();
    assert!(length > 10_000_000, "{length}");
    for backend in ["none", "zlib", "zstd"] {
        let gate = Tidegate::of(&server)
            .set("backend.compression", &format!("\"{backend}\""))
            .start();
        for (flavour, arguments) in [
            (
                Flavour::MySql,
                &["--compression-algorithms=uncompressed"][..],
            ),
            (Flavour::MySql, &["--compression-algorithms=zlib"]),
            (
                Flavour::MySql,
                &[
                    "--compression-algorithms=zlib",
                    "--ssl-mode=DISABLED",
                    "--get-server-public-key",
                ],
            ),
            (Flavour::MySql, &["--compression-algorithms=zstd"]),
            (
                Flavour::MySql,
                &[
                    "--compression-algorithms=zstd",
                    "--zstd-compression-level=22",
                ],
            ),
            (
                Flavour::MySql,
                &["--compression-algorithms=zlib,zstd,uncompressed"],
            ),
            (Flavour::MariaDb, &["--compress"]),
        ] {
            let ours = client(flavour, gate.app_port, &schema, arguments, &script);
            let what = format!("{flavour:?} {arguments:?}, backend {backend}");
            assert!(
                ours.stdout == expected[usize::from(flavour == Flavour::MariaDb)],
                "{what}: {}",
                String::from_utf8_lossy(&ours.stderr)
            );
            let errors = String::from_utf8_lossy(&ours.stderr);
            assert!(errors.contains("ERROR 1054 (42S22)"), "{what}: {errors}");
        }
    }
}

fn ask(port: u16, arguments: &[&str], sql: &str) -> String {
    let arguments = [&["--commands"], arguments].concat();
    super::ask(
        Flavour::MySql,
        port,
        APP_USER,
        APP_PASSWORD,
        &arguments,
        sql,
    )
}

#[test]
fn each_side_agrees_for_itself() {
    let server = MySql::shared();
    let status = "SHOW SESSION STATUS LIKE 'Compression_algorithm'";
    for (backend, expected) in [("none", ""), ("zlib", "zlib"), ("zstd", "zstd")] {
        let gate = Tidegate::of(server)
            .set("backend.compression", &format!("\"{backend}\""))
            .set("client.compression", "[\"zstd\"]")
            .start();
        let expected = format!("Compression_algorithm\t{expected}\n");
        // Twice: the second session takes the first one's connection over.
        for arguments in [&[][..], &["--compression-algorithms=zstd"], &[]] {
            assert_eq!(ask(gate.app_port, arguments, status), expected);
        }
        let told = ask(gate.app_port, &["--compression-algorithms=zstd"], "\\s");
        assert!(told.contains("Protocol:\t\tCompressed"), "{told}");
        let told = ask(gate.app_port, &["--compression-algorithms=zlib"], "\\s");
        assert!(told.contains("ERROR 2066"), "not allowed: {told}");
        let told = ask(gate.app_port, &[], "\\s");
        assert!(!told.contains("Compressed"), "{told}");
    }
}

#[test]
fn what_cannot_be_agreed_on_is_refused_in_the_servers_words() {
    let gate = Tidegate::of(MySql::shared())
        .set("client.compression", "[]")
        .start();
    let code = |port, capabilities| {
        let refused = Wire::login(port, APP_USER, APP_PASSWORD, "", capabilities).err();
        refused.map(|error| u16::from_le_bytes([error[1], error[2]]))
    };
    // Flags that nobody offered, from clients that do not look.
    assert_eq!(code(gate.app_port, COMPRESS), Some(3922));
    assert_eq!(code(gate.app_port, ZSTD), Some(3922));
    assert_eq!(code(gate.app_port, 0), None);
    // This client sends no level.
    let gate = Tidegate::of(MySql::shared()).start();
    assert_eq!(code(gate.app_port, ZSTD), Some(3923));
    assert_eq!(code(MySql::shared().port, ZSTD), Some(3923));
}

#[test]
fn a_server_without_zstd_is_spoken_to_as_it_can() {
    let server = MySql::start_mariadb(&["--local-infile=ON"]);
    let schema = server.schema("compression");
    let script = script();
    let expected = client(Flavour::MariaDb, server.port, &schema, &[], &script).stdout;
    assert!(expected.len() > 1_000_000, "{}", expected.len());
    for (backend, status) in [("zlib", "ON"), ("zstd", "OFF")] {
        let gate = Tidegate::of(&server)
            .set("backend.compression", &format!("\"{backend}\""))
            .start();
        for arguments in [&[][..], &["--compress"]] {
            let ours = client(Flavour::MariaDb, gate.app_port, &schema, arguments, &script);
            assert!(ours.stdout == expected, "{backend} {arguments:?}");
        }
        let sql = "SHOW SESSION STATUS LIKE 'Compression'";
        let told = super::ask(
            Flavour::MariaDb,
            gate.app_port,
            APP_USER,
            APP_PASSWORD,
            &[],
            sql,
        );
        assert_eq!(told, format!("Compression\t{status}\n"));
    }
}

#[tokio::test]
async fn a_driver_with_compression_works() {
    let server = MySql::shared();
    let gate = Tidegate::of(server)
        .set("backend.compression", "\"zstd\"")
        .start();
    let options = options(gate.app_port, APP_USER, APP_PASSWORD, "")
        .compression(mysql_async::Compression::fast());
    let mut conn = mysql_async::Conn::new(options).await.unwrap();
    for length in [1usize, 40, 60, 20_000, 17_000_000] {
        let got: Option<Vec<u8>> = conn
            .exec_first("SELECT CONCAT(?, '!')", (vec![b'x'; length],))
            .await
            .unwrap();
        assert!(got.is_some_and(|text| text.len() == length + 1), "{length}");
    }
    conn.reset().await.unwrap();
    conn.change_user(Default::default()).await.unwrap();
    assert_eq!(conn.query_first("SELECT 1").await.unwrap(), Some(1));
}

/// A compressed packet with whatever it claims.
fn outer(number: u8, claimed: usize, body: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = (claimed as u32).to_le_bytes();
    [&packet(number, body)[..4], &[a, b, c], body].concat()
}

#[test]
fn hostile_packets_end_their_own_connection_only() {
    let gate = Tidegate::of(MySql::shared()).start();
    let wire = || {
        let wire = Wire::login(gate.app_port, APP_USER, APP_PASSWORD, "", COMPRESS);
        wire.expect("a login").into_raw()
    };
    // An error is a compressed packet, too: its number stands behind seven bytes of the one and four of the other.
    let error = |after: &[u8]| -> u16 {
        let mut raw = wire();
        assert!(raw.send(after));
        let read = |raw: &mut Raw, mut bytes: Vec<u8>| {
            raw.stream().set_read_timeout(Some(WAIT)).unwrap();
            raw.stream().read_exact(&mut bytes).expect("an error");
            bytes
        };
        let head = read(&mut raw, vec![0; 7]);
        let body = read(&mut raw, vec![0; usize::from(head[0])]);
        let plain = match head[4..] {
            [0, 0, 0] => body,
            _ => unpack(&body),
        };
        assert_eq!(plain[4], 0xFF, "{plain:?}");
        u16::from_le_bytes([plain[5], plain[6]])
    };
    let bomb = pack(&query(&"x".repeat(1 << 20)));
    assert_eq!(error(&outer(0, 100, &bomb)), 1157);
    assert_eq!(error(&outer(0, 0xFF_FFFF, &bomb)), 1157);
    assert_eq!(
        error(&outer(0, 100, b"this is not compressed at all")),
        1157
    );
    assert_eq!(error(&outer(0, 100, b"")), 1157);
    assert_eq!(error(&outer(9, 0, &query("SELECT 1"))), 1156);
    assert_eq!(error(&outer(0, 0, &packet(7, b"\x0e"))), 1156);
    // Who stops inside of one is waited for like anybody who stops inside of a request, and then goes.
    let mut raw = wire();
    assert!(raw.send(&outer(0, 100, &bomb)[..20]));
    raw.finish();
    assert_eq!(raw.after(WAIT), After::Closed);
    assert_eq!(
        ask(
            gate.app_port,
            &["--compression-algorithms=zlib"],
            "SELECT 1"
        ),
        "1\n"
    );
    assert!(!gate.log().contains("panicked"), "{}", gate.log());
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(4_096);
    flate2::Decompress::new(true)
        .decompress_vec(packed, &mut plain, flate2::FlushDecompress::Finish)
        .expect("zlib");
    plain
}

fn pack(plain: &[u8]) -> Vec<u8> {
    let mut compress = flate2::Compress::new(flate2::Compression::best(), true);
    let mut packed = Vec::with_capacity(plain.len());
    compress
        .compress_vec(plain, &mut packed, flate2::FlushCompress::Finish)
        .expect("it fits");
    packed
}
