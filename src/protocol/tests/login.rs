//! Logins: packets of the connection phase, scrambles against an independent implementation, and our two machines against each other.

use crate::protocol::auth::server::{FAST_AUTH_SUCCESS, PERFORM_FULL_AUTH};
use crate::protocol::auth::*;
use crate::protocol::capability::*;
use crate::protocol::handshake::*;
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets as oracle;
use mysql_common::proto::{MyDeserialize, MySerialize};
use mysql_common::scramble::{scramble_native, scramble_sha256};
use std::sync::{Arc, LazyLock};

static KEY: LazyLock<Arc<RsaKey>> =
    LazyLock::new(|| Arc::new(RsaKey::generate().expect("a key pair")));

fn nonce() -> Nonce {
    Nonce::generate().expect("random bytes")
}

#[test]
fn nonces_have_no_zero_and_no_dollar() {
    for _ in 0..200 {
        assert!(
            nonce()
                .as_bytes()
                .iter()
                .all(|&byte| byte != 0 && byte != b'$' && byte < 0x80)
        );
    }
    assert_ne!(nonce(), nonce());
    assert_eq!(Nonce::from_slice(&[1; 19]), None);
    assert_eq!(Nonce::from_slice(&[1; 21]), None);
}

#[test]
fn scrambles_agree_with_the_oracle_and_verify() {
    for password in [&b"a"[..], b"correct horse", &[0xFF; 200]] {
        let nonce = nonce();
        let native = native_scramble(password, &nonce);
        assert_eq!(Some(native), scramble_native(nonce.as_bytes(), password));
        let sha2 = sha256_scramble(password, &nonce);
        assert_eq!(Some(sha2), scramble_sha256(nonce.as_bytes(), password));

        let verifier = Verifier::of_password(password);
        assert_eq!(
            verifier.check(&sha2, &nonce),
            Some(Stage1::of_password(password))
        );
        assert_eq!(verifier.check(&sha2, &self::nonce()), None);
        assert_eq!(verifier.check(&sha2[..31], &nonce), None);
        assert!(verifier.check_password(password) && !verifier.check_password(b"other"));
        let verifier = NativeVerifier::of_password(password);
        assert!(
            verifier.check(&native, &nonce)
                && !verifier.check(&native, &self::nonce())
                && !verifier.check(&[], &nonce)
        );
    }
    assert_eq!(
        format!(
            "{:?} {:?}",
            Stage1::of_password(b"x"),
            Secret::of_password(b"x")
        ),
        "Stage1(***) Secret::Password(***)"
    );
}

#[test]
fn rsa_carries_a_password_for_one_nonce_only() {
    let nonce = nonce();
    let public = RsaPublicKey::from_pem(KEY.public_pem()).expect("our own PEM");
    let sent = public.encrypt(b"secret", &nonce).unwrap();
    assert_eq!(
        KEY.decrypt(&sent, &nonce).as_deref().map(Vec::as_slice),
        Some(&b"secret"[..])
    );
    assert_ne!(
        KEY.decrypt(&sent, &self::nonce())
            .as_deref()
            .map(Vec::as_slice),
        Some(&b"secret"[..])
    );
    assert!(KEY.decrypt(&sent[1..], &nonce).is_none());
    assert!(KEY.decrypt(&[7; 256], &nonce).is_none());
    assert!(public.encrypt(&[1; 300], &nonce).is_none());
    assert!(
        RsaPublicKey::from_pem(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
            .is_none()
    );
    // What the driver library encrypts with our PEM, we can read.
    let mut with_zero = b"secret\0".to_vec();
    with_zero
        .iter_mut()
        .zip(nonce.as_bytes().iter().cycle())
        .for_each(|(byte, key)| *byte ^= key);
    let theirs = mysql_common::crypto::encrypt(&with_zero, KEY.public_pem());
    assert_eq!(
        KEY.decrypt(&theirs, &nonce).as_deref().map(Vec::as_slice),
        Some(&b"secret"[..])
    );
}

fn greeting() -> Greeting {
    Greeting {
        version: b"9.7.4-tidegate".to_vec(),
        connection_id: 0x0102_0304,
        capabilities: OFFERED_MAX | SSL,
        collation: 255,
        status: 2,
        nonce: nonce(),
        plugin: CACHING_SHA2.to_vec(),
        mariadb_capabilities: 0,
    }
}

#[test]
fn greeting_round_trip_and_oracle() {
    let ours = greeting();
    let mut out = Vec::new();
    ours.write(&mut out);
    assert_eq!(Greeting::parse(&out), Ok(ours.clone()));
    let theirs = oracle::HandshakePacket::deserialize((), &mut ParseBuf(&out)).unwrap();
    assert_eq!(theirs.server_version_ref(), b"9.7.4-tidegate");
    assert_eq!(theirs.nonce()[..20], ours.nonce.as_bytes()[..]);
    assert_eq!(
        theirs.capabilities().bits(),
        CapabilityFlags::from_bits_truncate(ours.capabilities).bits()
    );
    assert_eq!(theirs.auth_plugin_name_ref(), Some(CACHING_SHA2));
    for cut in 0..out.len() - 1 {
        let _ = Greeting::parse(&out[..cut]);
    }
    assert!(Greeting::parse(&out[..40]).is_err());
    assert!(Greeting::parse(b"\xFFxx").is_err());
}

fn response() -> HandshakeResponse {
    HandshakeResponse {
        capabilities: PROTOCOL_41
            | SECURE_CONNECTION
            | PLUGIN_AUTH
            | PLUGIN_AUTH_LENENC
            | CONNECT_WITH_DB
            | CONNECT_ATTRS
            | LONG_PASSWORD
            | SESSION_TRACK,
        packet_bytes_max: 1 << 24,
        collation: 255,
        user: b"ann".to_vec(),
        auth_response: vec![9; 32],
        schema: b"shop".to_vec(),
        plugin: CACHING_SHA2.to_vec(),
        attributes: vec![
            (b"program_name".to_vec(), b"till".to_vec()),
            (b"b".to_vec(), b"2".to_vec()),
            (b"b".to_vec(), b"3".to_vec()),
        ],
        zstd_level: 0,
        mariadb_capabilities: 0,
    }
}

#[test]
fn response_round_trip_keeps_attributes_in_order() {
    let mut ours = response();
    for flags in [
        ours.capabilities,
        ours.capabilities & !(PLUGIN_AUTH_LENENC | CONNECT_ATTRS | CONNECT_WITH_DB | PLUGIN_AUTH),
    ] {
        ours.capabilities = flags;
        if flags & CONNECT_ATTRS == 0 {
            ours.attributes.clear();
            ours.schema.clear();
            ours.plugin.clear();
        }
        let mut out = Vec::new();
        ours.write(&mut out);
        assert_eq!(HandshakeResponse::parse(&out), Ok(ours.clone()));
        for cut in 0..out.len() {
            let _ = HandshakeResponse::parse(&out[..cut]);
        }
    }
    assert_eq!(response().attribute(b"b"), Some(&b"2"[..]));
    let mut many = response();
    many.attributes = vec![Default::default(); 1025];
    let mut out = Vec::new();
    many.write(&mut out);
    assert!(HandshakeResponse::parse(&out).is_err());
    assert!(HandshakeResponse::parse(&[0; 40]).is_err());
    let shown = format!("{:?}", response());
    assert!(
        !shown.contains("[9") && !shown.contains("auth_response"),
        "{shown}"
    );
}

#[test]
fn response_is_what_the_oracle_reads() {
    let ours = response();
    let mut out = Vec::new();
    ours.write(&mut out);
    let theirs = oracle::HandshakeResponse::deserialize((), &mut ParseBuf(&out)).unwrap();
    assert_eq!(
        (theirs.user(), theirs.db_name(), theirs.collation()),
        (&b"ann"[..], Some(&b"shop"[..]), 255)
    );
    let mut again = Vec::new();
    theirs.serialize(&mut again);
    assert_eq!(HandshakeResponse::parse(&again).unwrap().user, b"ann");
}

/// Runs our client machine against our server machine; answers what the server saw last and what the client made of it.
struct Login {
    client: ClientAuth,
    server: ServerAuth,
    caps: u32,
    verifier: Option<Verifier>,
    native: Option<NativeVerifier>,
    packets_to_client: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Fast,
    Full(Vec<u8>),
    Denied(&'static str),
    NeedPassword,
    ClientGaveUp,
}

fn login(secret: Secret, secure: bool, greeting_plugin: &[u8]) -> Login {
    let nonce = nonce();
    Login {
        client: ClientAuth::new(secret, secure, None, greeting_plugin, nonce),
        server: ServerAuth::new(nonce, secure, KEY.clone()),
        caps: PLUGIN_AUTH,
        verifier: None,
        native: None,
        packets_to_client: Vec::new(),
    }
}

impl Login {
    fn run(&mut self) -> Outcome {
        let response = self.client.first_response().unwrap();
        let plugin = self.client.plugin();
        let known = Known {
            sha2: self.verifier.as_ref(),
            native: self.native.as_ref(),
        };
        let mut step = self.server.start(self.caps, plugin, &response, known);
        loop {
            let payload = match step {
                ServerStep::Send(payload) => payload,
                ServerStep::Accepted { before_ok, .. } => {
                    if !before_ok.is_empty() {
                        assert!(matches!(
                            self.client.on_packet(&before_ok),
                            Ok(ClientStep::Wait)
                        ));
                    }
                    assert!(matches!(
                        self.client.on_packet(&[0, 0, 0, 2, 0, 0, 0]),
                        Ok(ClientStep::Done)
                    ));
                    return Outcome::Fast;
                }
                ServerStep::Check(password) => return Outcome::Full(password.to_vec()),
                ServerStep::Denied(why) => return Outcome::Denied(why),
            };
            self.packets_to_client.push(payload.clone());
            let answer = match self.client.on_packet(&payload) {
                Ok(ClientStep::Send(answer)) => answer,
                Ok(ClientStep::NeedPassword) => return Outcome::NeedPassword,
                _ => return Outcome::ClientGaveUp,
            };
            step = self.server.on_packet(&answer, known).unwrap();
        }
    }
}

#[test]
fn fast_path_when_the_verifier_is_known() {
    for secret in [
        Secret::of_password(b"pw"),
        Secret::Stage1(Stage1::of_password(b"pw")),
    ] {
        let mut login = login(secret, false, CACHING_SHA2);
        login.verifier = Some(Verifier::of_password(b"pw"));
        assert_eq!(login.run(), Outcome::Fast);
    }
}

#[test]
fn full_path_over_tls_and_by_rsa() {
    for (secure, packets) in [(true, 1), (false, 2)] {
        let mut unknown = login(Secret::of_password(b"pw"), secure, CACHING_SHA2);
        assert_eq!(unknown.run(), Outcome::Full(b"pw".to_vec()));
        assert_eq!(unknown.packets_to_client.len(), packets);
        assert_eq!(unknown.packets_to_client[0], [1, PERFORM_FULL_AUTH]);
        // The password was changed behind our back: a wrong scramble leads to the full path, never to a refusal by a stale verifier.
        let mut changed = login(Secret::of_password(b"new"), secure, CACHING_SHA2);
        changed.verifier = Some(Verifier::of_password(b"old"));
        assert_eq!(changed.run(), Outcome::Full(b"new".to_vec()));
    }
    let mut only_hash = login(
        Secret::Stage1(Stage1::of_password(b"pw")),
        true,
        CACHING_SHA2,
    );
    assert_eq!(only_hash.run(), Outcome::NeedPassword);
}

#[test]
fn other_plugins() {
    // A native client of a listed user is checked by its scramble, of an unlisted one switched.
    let mut listed = login(Secret::of_password(b"pw"), false, NATIVE);
    listed.native = Some(NativeVerifier::of_password(b"pw"));
    assert_eq!(listed.run(), Outcome::Fast);
    let mut wrong = login(Secret::of_password(b"no"), false, NATIVE);
    wrong.native = Some(NativeVerifier::of_password(b"pw"));
    assert_eq!(wrong.run(), Outcome::Denied("wrong_password"));
    for secure in [true, false] {
        assert_eq!(
            login(Secret::of_password(b"pw"), secure, NATIVE).run(),
            Outcome::Full(b"pw".to_vec())
        );
    }
    let mut old = login(Secret::of_password(b"pw"), false, NATIVE);
    old.caps = 0;
    assert_eq!(old.run(), Outcome::Denied("old_client"));
    // sha256_password: over TLS the first answer is the password; without it the client is switched.
    assert_eq!(
        login(Secret::of_password(b"pw"), true, SHA256).run(),
        Outcome::Full(b"pw".to_vec())
    );
    assert_eq!(
        login(Secret::of_password(b"pw"), false, SHA256).run(),
        Outcome::Full(b"pw".to_vec())
    );
    assert_eq!(
        login(Secret::None, false, CACHING_SHA2).run(),
        Outcome::Full(Vec::new())
    );
    assert_eq!(
        login(Secret::None, true, NATIVE).run(),
        Outcome::Full(Vec::new())
    );
}

#[test]
fn clear_text_only_over_tls() {
    let mut switch = Vec::new();
    AuthSwitch {
        plugin: CLEAR,
        data: b"",
    }
    .write(&mut switch);
    let mut plain = ClientAuth::new(
        Secret::of_password(b"pw"),
        false,
        None,
        CACHING_SHA2,
        nonce(),
    );
    assert!(plain.on_packet(&switch).is_err());
    let mut tls = ClientAuth::new(
        Secret::of_password(b"pw"),
        true,
        None,
        CACHING_SHA2,
        nonce(),
    );
    let Ok(ClientStep::Send(sent)) = tls.on_packet(&switch) else {
        panic!("no answer")
    };
    assert_eq!(sent.as_slice(), b"pw\0");
    // Never volunteered, even if the greeting names it.
    assert_eq!(
        ClientAuth::new(Secret::of_password(b"pw"), true, None, CLEAR, nonce()).plugin(),
        CACHING_SHA2
    );
    // A client's clear text is taken over TLS and refused without.
    let mut server = ServerAuth::new(nonce(), true, KEY.clone());
    assert!(matches!(
        server.start(PLUGIN_AUTH, CLEAR, b"pw\0", Known::default()),
        ServerStep::Check(_)
    ));
    let mut server = ServerAuth::new(nonce(), false, KEY.clone());
    assert!(matches!(
        server.start(PLUGIN_AUTH, CLEAR, b"pw\0", Known::default()),
        ServerStep::Send(_)
    ));
}

#[test]
fn a_proved_client_can_still_be_asked_for_its_password() {
    for (plugin, packet) in [(CACHING_SHA2, 0x01), (NATIVE, 0xFE)] {
        let nonce = nonce();
        let verifier = Verifier::of_password(b"pw");
        let native = NativeVerifier::of_password(b"pw");
        let known = Known {
            sha2: Some(&verifier),
            native: Some(&native),
        };
        let mut client = ClientAuth::new(Secret::of_password(b"pw"), true, None, plugin, nonce);
        let mut server = ServerAuth::new(nonce, true, KEY.clone());
        let first = client.first_response().unwrap();
        assert!(matches!(
            server.start(PLUGIN_AUTH, plugin, &first, known),
            ServerStep::Accepted { .. }
        ));
        let mut step = server.demand_password();
        assert!(matches!(&step, ServerStep::Send(payload) if payload[0] == packet));
        while let ServerStep::Send(payload) = &step {
            assert_ne!(payload[..], [1, FAST_AUTH_SUCCESS]);
            let Ok(ClientStep::Send(answer)) = client.on_packet(payload) else {
                panic!("no answer")
            };
            step = server.on_packet(&answer, known).unwrap();
        }
        let ServerStep::Check(password) = step else {
            panic!("{plugin:?} {step:?}")
        };
        assert_eq!(password.as_slice(), b"pw");
    }
}

#[test]
fn hostile_answers_are_refused() {
    let mut server = ServerAuth::new(nonce(), false, KEY.clone());
    assert!(server.on_packet(b"x", Known::default()).is_err());
    assert!(matches!(
        server.start(PLUGIN_AUTH, CACHING_SHA2, &[1; 31], Known::default()),
        ServerStep::Denied("bad_scramble")
    ));
    assert!(server.on_packet(b"x", Known::default()).is_err());
    // The key is given once, then a ciphertext is due.
    let mut server = ServerAuth::new(nonce(), false, KEY.clone());
    server.start(PLUGIN_AUTH, CACHING_SHA2, &[1; 32], Known::default());
    assert!(matches!(
        server.on_packet(&[2], Known::default()),
        Ok(ServerStep::Send(_))
    ));
    assert!(matches!(
        server.on_packet(&[2], Known::default()),
        Ok(ServerStep::Denied("bad_ciphertext"))
    ));
    // A server that goes on and on is left.
    let mut client = ClientAuth::new(
        Secret::of_password(b"pw"),
        true,
        None,
        CACHING_SHA2,
        nonce(),
    );
    let rounds = (0..20)
        .take_while(|_| client.on_packet(&[1, 3]).is_ok())
        .count();
    assert!(rounds < 10);
    for payload in [
        &[][..],
        &[0x02],
        &[0xFE],
        b"\xFEfoo",
        b"\xFEdialog\0x",
        &[1, 9],
        &[0x33],
    ] {
        let mut client = ClientAuth::new(
            Secret::of_password(b"pw"),
            true,
            None,
            CACHING_SHA2,
            nonce(),
        );
        assert!(client.on_packet(payload).is_err(), "{payload:?}");
    }
}

#[test]
fn change_user_switch_and_tls_request() {
    let caps = SECURE_CONNECTION | PLUGIN_AUTH | CONNECT_ATTRS;
    let change = ChangeUser {
        user: b"ann".to_vec(),
        auth_response: vec![1; 20],
        schema: b"shop".to_vec(),
        collation: 303,
        plugin: NATIVE.to_vec(),
        attributes: vec![(b"a".to_vec(), b"b".to_vec())],
    };
    let mut out = Vec::new();
    change.write(&mut out, caps);
    assert_eq!(ChangeUser::parse(&out, caps), Ok(change));
    for cut in 0..out.len() {
        let _ = ChangeUser::parse(&out[..cut], caps);
    }
    assert!(ChangeUser::parse(b"ann", caps).is_err());

    let nonce = nonce();
    let switch = AuthSwitch {
        plugin: CACHING_SHA2,
        data: nonce.as_bytes(),
    };
    let mut out = Vec::new();
    switch.write(&mut out);
    assert_eq!(AuthSwitch::parse(&out), Ok(switch));
    let theirs = oracle::AuthSwitchRequest::deserialize((), &mut ParseBuf(&out)).unwrap();
    assert_eq!(theirs.plugin_data()[..20], nonce.as_bytes()[..]);

    let request = SslRequest {
        capabilities: PROTOCOL_41 | SSL,
        packet_bytes_max: 1 << 24,
        collation: 45,
    };
    let mut out = Vec::new();
    request.write(&mut out);
    assert_eq!(SslRequest::parse(&out), Some(request));
    let mut whole = Vec::new();
    response().write(&mut whole);
    assert_eq!(SslRequest::parse(&whole), None);
    assert_eq!(
        attributes_wire_bytes(&response().attributes),
        13 + 5 + 4 + 4
    );
}
