//! Certificates: who the backend has to be, who we are there, who clients have to be, and all of it anew without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey,
};
use tidegate::backend::login::{self, Login};
use tidegate::backend::target::Target;
use tidegate::config::{Backend, BackendTlsMode};
use tidegate::protocol::auth::Secret;
use tidegate::protocol::capability;

use super::ask;
use crate::support::mysql::Flavour;
use crate::support::{APP_PASSWORD, APP_USER, MySql, Tidegate, process, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// An authority of one's own, and the folder that it writes to.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        let name = format!("authority {:016x}", rand::random::<u64>());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = process::new_folder("authority");
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("it can be written");
        Self { issuer, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for a name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// The same in files.
    fn write(&self, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = self.issue(name);
        let path = |what| self.folder.join(format!("{name}-{what}.pem"));
        replace(&path("cert"), &cert);
        replace(&path("key"), &key);
        (path("cert"), path("key"))
    }
}

/// As those do who replace certificates: a new file under the old name.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("it can be written");
    std::fs::rename(&beside, path).expect("it can be renamed");
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn data_folder(server: &MySql) -> PathBuf {
    PathBuf::from(server.run("SELECT @@datadir").trim())
}

async fn opens(server: &MySql, tls: BackendTlsMode, ca: &Path) -> Result<(), String> {
    let backend = Backend {
        url: server.root_url().parse().expect("a URL"),
        tls,
        tls_ca: ca.to_owned(),
        ..Backend::default()
    };
    let target = Target::new(&backend).map_err(|error| error.to_string())?;
    let login = Login {
        user: b"root",
        secret: Secret::None,
        schema: b"",
        capabilities: capability::OFFERED_MAX,
        collation: 45,
        attributes: Vec::new(),
    };
    match login::open(&target, &login, 4096).await {
        Ok(connection) => {
            assert!(connection.stream.is_tls());
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn each_mode_verifies_what_it_says() {
    use BackendTlsMode::{Required, VerifyCa, VerifyIdentity};
    let (ours, theirs) = (Authority::new(), Authority::new());
    // Auto-made, as most have: no name in it.
    let plain = MySql::start(&[]);
    let auto = data_folder(&plain).join("ca.pem");
    let with = |(cert, key): (PathBuf, PathBuf)| {
        let arguments = [
            format!("--ssl-cert={}", cert.display()),
            format!("--ssl-key={}", key.display()),
            format!("--ssl-ca={}", ours.ca().display()),
        ];
        MySql::start(&arguments.each_ref().map(String::as_str))
    };
    let (named, other) = (
        with(ours.write("127.0.0.1")),
        with(ours.write("db.example")),
    );
    for (server, mode, ca, expected) in [
        (&plain, Required, &theirs.ca(), ""),
        (&plain, VerifyCa, &auto, ""),
        (&plain, VerifyCa, &theirs.ca(), "invalid peer certificate"),
        (&plain, VerifyIdentity, &auto, "invalid peer certificate"),
        (&named, VerifyIdentity, &ours.ca(), ""),
        (
            &named,
            VerifyIdentity,
            &theirs.ca(),
            "invalid peer certificate",
        ),
        (&other, VerifyCa, &ours.ca(), ""),
        (&other, VerifyIdentity, &ours.ca(), "not valid for name"),
    ] {
        let opened = opens(server, mode, ca).await;
        match expected {
            "" => assert_eq!(opened, Ok(()), "{mode:?}"),
            why => {
                let error = opened.expect_err("another certificate");
                assert!(error.contains(why), "{mode:?}: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_verify_and_show_the_certificate_and_take_new_ones() {
    let server = MySql::start(&[]);
    let data = data_folder(&server);
    let file = |name: &str| std::fs::read_to_string(data.join(name)).expect("it is there");
    let folder = process::new_folder("backend-tls");
    let at = |name: &str| folder.join(name);
    for name in ["ca.pem", "client-cert.pem", "client-key.pem"] {
        replace(&at(name), &file(name));
    }
    server.run(
        "CREATE USER gate IDENTIFIED BY 'g' REQUIRE X509; GRANT ALL ON *.* TO gate;
         CREATE USER strict IDENTIFIED BY 's' REQUIRE X509; ALTER USER app REQUIRE SSL",
    );
    let gate = Tidegate::of(&server)
        .backend_url(&format!("mysql://gate:g@127.0.0.1:{}", server.port))
        .set("backend.tls", "\"verify_ca\"")
        .set("backend.tls_ca", &quoted(&at("ca.pem")))
        .set("backend.tls_cert", &quoted(&at("client-cert.pem")))
        .set("backend.tls_key", &quoted(&at("client-key.pem")))
        .start();
    let one = || {
        ask(
            Flavour::MySql,
            gate.app_port,
            "strict",
            "s",
            &[],
            "SELECT 1",
        )
    };
    assert_eq!(one(), "1\n");
    assert!(
        ask(Flavour::MySql, server.port, "strict", "s", &[], "SELECT 1").contains("ERROR 1045")
    );
    // The log is followed and the driver's connections are there, although the account needs the certificate for each.
    wait_until("the log is followed", PATIENCE, || {
        gate.log().contains("log stream begins").then_some(())
    });
    let types = "SELECT COUNT(*), SUM(connection_type = 'SSL/TLS') FROM performance_schema.threads WHERE processlist_user = 'gate'";
    let counted = server.run(types);
    let (all, secure) = counted.trim().split_once('\t').expect("two numbers");
    assert!(
        all == secure && all.parse::<u32>().expect("a number") >= 2,
        "{counted}"
    );
    let probed: Vec<(String,)> = gate.admin("SELECT version FROM backends").await;
    assert!(probed[0].0.starts_with('9'), "{probed:?}");
    // Another authority: nobody new gets through.
    replace(
        &at("ca.pem"),
        &std::fs::read_to_string(Authority::new().ca()).expect("text"),
    );
    wait_until("the new authority counts", PATIENCE, || {
        one().contains("invalid peer certificate").then_some(())
    });
    // Nonsense changes nothing.
    replace(&at("ca.pem"), "nonsense");
    wait_until("it is logged", PATIENCE, || {
        gate.log()
            .contains("the old ones stay in use")
            .then_some(())
    });
    assert!(one().contains("invalid peer certificate"));
    replace(&at("ca.pem"), &file("ca.pem"));
    wait_until("the right one is back", PATIENCE, || {
        (one() == "1\n").then_some(())
    });
    gate.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_server_is_verified_too() {
    let authority = Authority::new();
    let (cert, key) = authority.write("127.0.0.1");
    let server = MySql::start_mariadb(&[
        &format!("--ssl-cert={}", cert.display()),
        &format!("--ssl-key={}", key.display()),
    ]);
    let gate = Tidegate::of(&server)
        .set("backend.tls", "\"verify_identity\"")
        .set("backend.tls_ca", &quoted(&authority.ca()))
        .start();
    let probed: Vec<(String,)> = gate.admin("SELECT version FROM backends").await;
    assert!(probed[0].0.contains("MariaDB"), "{probed:?}");
    let cipher = "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'";
    for flavour in [Flavour::MySql, Flavour::MariaDb] {
        let told = ask(flavour, gate.app_port, APP_USER, APP_PASSWORD, &[], cipher);
        assert_eq!(told, "1\n", "{flavour:?}");
    }
    gate.stop();
}

#[test]
fn clients_may_have_to_show_certificates() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let (cert, key) = known.write("client");
    let (other_cert, other_key) = unknown.write("client");
    let arguments = |cert: &Path, key: &Path| {
        [
            format!("--ssl-cert={}", cert.display()),
            format!("--ssl-key={}", key.display()),
        ]
    };
    let (right, wrong) = (arguments(&cert, &key), arguments(&other_cert, &other_key));
    for required in [false, true] {
        let gate = Tidegate::of(MySql::shared())
            .set("tls.client_ca", &quoted(&known.ca()))
            .set(
                "tls.client_cert_required",
                if required { "true" } else { "false" },
            )
            .set(
                "tls.mode",
                if required {
                    "\"required\""
                } else {
                    "\"preferred\""
                },
            )
            .start();
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let ask = |arguments: &[String]| {
                let tls = match flavour {
                    Flavour::MySql => "--ssl-mode=REQUIRED",
                    Flavour::MariaDb => "--ssl",
                };
                let mut all = vec![tls];
                all.extend(arguments.iter().map(String::as_str));
                ask(
                    flavour,
                    gate.app_port,
                    APP_USER,
                    APP_PASSWORD,
                    &all,
                    "SELECT 1",
                )
            };
            assert_eq!(ask(&right), "1\n", "{flavour:?}");
            assert!(
                ask(&wrong).contains("ERROR 20"),
                "{flavour:?}: {}",
                ask(&wrong)
            );
            match required {
                true => assert!(ask(&[]).contains("ERROR 20"), "{flavour:?}: {}", ask(&[])),
                false => assert_eq!(ask(&[]), "1\n", "{flavour:?}"),
            }
        }
    }
}

#[test]
fn new_certificates_are_taken_up_while_it_runs() {
    let (first, second) = (Authority::new(), Authority::new());
    let (cert, key) = first.write("localhost");
    let gate = Tidegate::of(MySql::shared())
        .set("tls.cert", &quoted(&cert))
        .set("tls.key", &quoted(&key))
        .start();
    let told = |authority: &Authority| {
        let ca = format!("--ssl-ca={}", authority.ca().display());
        let arguments = ["--ssl-mode=VERIFY_CA", &ca];
        ask(
            Flavour::MySql,
            gate.app_port,
            APP_USER,
            APP_PASSWORD,
            &arguments,
            "SELECT 1",
        )
    };
    let trusts = |authority| told(authority) == "1\n";
    assert_eq!(told(&first), "1\n");
    assert!(trusts(&first) && !trusts(&second));
    let log_has =
        |words: &str| wait_until(words, PATIENCE, || gate.log().contains(words).then_some(()));
    // The certificate comes first: with the old key it does not go together, and nothing changes.
    let (new_cert, new_key) = second.issue("localhost");
    replace(&cert, &new_cert);
    log_has("the old ones stay in use");
    assert!(trusts(&first) && !trusts(&second));
    replace(&key, &new_key);
    log_has("certificates were read again");
    wait_until("the new one is shown", PATIENCE, || {
        trusts(&second).then_some(())
    });
    assert!(!trusts(&first));
    // Asked for, even where nothing changed; and asking does not end it.
    let before = gate.log().matches("certificates were read again").count();
    let hangup = std::process::Command::new("kill")
        .args(["-HUP", &gate.id().to_string()])
        .status();
    assert!(hangup.is_ok_and(|status| status.success()));
    wait_until("all were read again", PATIENCE, || {
        (gate.log().matches("certificates were read again").count() >= before + 3).then_some(())
    });
    assert!(trusts(&second));
    gate.stop();
}

fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----");
    for (at, three) in der.chunks(3).enumerate() {
        if at % 16 == 0 {
            text.push('\n');
        }
        let bits = (0..3).fold(0_usize, |all, at| {
            all << 8 | usize::from(three.get(at).copied().unwrap_or(0))
        });
        for digit in 0..4 {
            match digit <= three.len() {
                true => text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63])),
                false => text.push('='),
            }
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}

/// A certificate of X.509 version 1, as `openssl x509 -req` makes them: nobody's, for a key of its own.
fn old_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let element = |tag: u8, content: &[u8]| {
        let (high, low) = ((content.len() >> 8) as u8, content.len() as u8);
        let length = match content.len() {
            0..=0x7F => vec![low],
            0x80..=0xFF => vec![0x81, low],
            _ => vec![0x82, high, low],
        };
        [&[tag], &length[..], content].concat()
    };
    let header = |bytes: &[u8]| match bytes[1] {
        short @ 0..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(bytes[2])),
        _ => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
    };
    let split = |bytes: &[u8]| {
        let mut rest = &bytes[header(bytes).0..];
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (before, length) = header(rest);
            let (part, next) = rest.split_at(before + length);
            parts.push(part.to_vec());
            rest = next;
        }
        parts
    };
    let made = rcgen::generate_simple_self_signed(vec!["old".to_owned()]).expect("it is made");
    let certificate = split(made.cert.der());
    let signed = split(&certificate[0]);
    // Without the version in front and the extensions behind.
    let signed = element(0x30, &signed[1..7].concat());
    let signature = made.signing_key.sign(&signed).expect("it signs");
    let signature = element(0x03, &[&[0], &signature[..]].concat());
    let whole = element(0x30, &[signed, certificate[1].clone(), signature].concat());
    let (cert, key) = (folder.join("old.pem"), folder.join("old-key.pem"));
    std::fs::write(&cert, pem(&whole)).expect("it can be written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
    (cert, key)
}

#[test]
fn a_server_with_a_certificate_of_version_1_is_reached_as_clients_reach_it() {
    let (cert, key) = old_certificate(&process::new_folder("old"));
    let server = MySql::start(&[
        &format!("--ssl-cert={}", cert.display()),
        &format!("--ssl-key={}", key.display()),
    ]);
    let gate = Tidegate::of(&server)
        .set("backend.tls", "\"required\"")
        .set("pool.idle_max", "0")
        .start();
    let cipher = "SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME='Ssl_version'";
    let asked = |port| ask(Flavour::MySql, port, APP_USER, APP_PASSWORD, &[], cipher);
    assert_eq!(asked(gate.app_port), "TLSv1.3\n");
    // Our own connections too.
    let reached = || {
        let log = gate.log();
        log.contains("views: this proxy builds").then_some(())
    };
    wait_until("our own connections", PATIENCE, reached);
    server.run("SET GLOBAL tls_version='TLSv1.2'; ALTER INSTANCE RELOAD TLS");
    assert_eq!(asked(gate.app_port), "TLSv1.2\n");
}
