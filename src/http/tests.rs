//! Every page over a socket, bad requests, limits, and the end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::admin::{self, Sources, Value};

struct Site {
    address: std::net::SocketAddr,
    stop: Shutdown,
    ended: tokio::task::JoinHandle<io::Result<()>>,
}

async fn site(limits: Limits, ready: bool) -> Site {
    let sources = Sources {
        decisions: Arc::new(|| {
            (0..3i64)
                .map(|at| {
                    let reason = format!("reason<{at}>");
                    vec![
                        Value::Null,
                        reason.into(),
                        Value::Int(at),
                        Value::Null,
                        Value::Null,
                        Value::Null,
                    ]
                })
                .collect()
        }),
        ..Sources::default()
    };
    let limits_of_admin = admin::Limits::new(1000, 2000);
    let runtime = tokio::runtime::Handle::current();
    let pages = Pages {
        admin: Admin::start(sources, limits_of_admin, runtime).unwrap(),
        metrics: Arc::new(|| Ok("# HELP a b\n# TYPE a counter\na 1\n".to_owned())),
        ready: Arc::new(move || {
            vec![Check {
                name: "backend",
                ok: ready,
                detail: "looked at".to_owned(),
            }]
        }),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Shutdown::new();
    let ended = tokio::spawn(serve(listener, pages, limits, stop.clone()));
    Site {
        address,
        stop,
        ended,
    }
}

impl Site {
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Status, head and body.
    async fn get(&self, path: &str) -> (u16, String, String) {
        let answer = self
            .raw(&format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
}

#[tokio::test]
async fn pages() {
    let site = site(Limits::default(), true).await;
    let (status, head, body) = site.get("/").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/html") && body.contains("<title>Tidegate</title>"));
    assert!(
        !body.contains("//cdn") && !body.contains("https://"),
        "the page stands alone"
    );
    let (status, head, body) = site.get("/metrics").await;
    assert_eq!((status, body.lines().count()), (200, 3));
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert_eq!(site.get("/healthz").await.0, 200);
    let (status, _, body) = site.get("/readyz").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({ "ready": true, "checks": [{ "name": "backend", "ok": true, "detail": "looked at" }] })
    );
    let (_, _, body) = site.get("/api/tables").await;
    let tables: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        tables.as_array().unwrap().len(),
        admin::catalog::TABLES.len()
    );
    assert_eq!(tables[0]["columns"][0]["type"], "bigint");
}

#[tokio::test]
async fn not_ready_says_why() {
    let site = site(Limits::default(), false).await;
    let (status, _, body) = site.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("\"ready\":false") && body.contains("looked at"),
        "{body}"
    );
    assert_eq!(site.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn tables_as_json() {
    let site = site(Limits::default(), true).await;
    let (status, _, body) = site.get("/api/decisions?order=-count,reason&limit=2").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({ "table": "decisions", "rows": [
            { "reason": "reason<2>", "target": null, "count": 2, "last_digest": null, "last_digest_text": null, "last_seen": null },
            { "reason": "reason<1>", "target": null, "count": 1, "last_digest": null, "last_digest_text": null, "last_seen": null },
        ] })
    );
    let (_, _, body) = site.get("/api/decisions?offset=2").await;
    assert_eq!(body.matches("\"reason\"").count(), 1);
    for (path, status) in [
        ("/api/nothing", 404),
        ("/nothing", 404),
        ("/api/decisions?limit=many", 400),
        ("/api/decisions?limit=-1", 400),
        ("/api/decisions?order=count;drop", 400),
        ("/api/decisions?where=1", 400),
    ] {
        let (found, _, body) = site.get(path).await;
        assert_eq!(found, status, "{path}");
        assert!(body.contains("\"error\":"), "{path}: {body}");
    }
    let answer = site.raw("POST /api/decisions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = site.raw("nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn silent_and_old_connections_end() {
    let limits = Limits {
        idle_ms_max: 100,
        ..Limits::default()
    };
    let idle = site(limits, true).await;
    let begun = std::time::Instant::now();
    idle.raw("GET / HT").await;
    assert!(begun.elapsed() < Duration::from_secs(3));

    let limits = Limits {
        connection_ms_max: 150,
        ..Limits::default()
    };
    let old = site(limits, true).await;
    let mut stream = TcpStream::connect(old.address).await.unwrap();
    let dripping = async {
        for byte in
            b"GET / HTTP/1.1\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut byte = [0];
            if matches!(stream.try_read(&mut byte), Ok(0)) {
                return;
            }
        }
        panic!("a connection outlives its time");
    };
    dripping.await;
}

#[tokio::test]
async fn more_connections_than_places_wait() {
    let limits = Limits {
        connections_max: 1,
        idle_ms_max: 300,
        ..Limits::default()
    };
    let site = site(limits, true).await;
    let _held = TcpStream::connect(site.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = std::time::Instant::now();
    assert_eq!(site.get("/healthz").await.0, 200);
    assert!(
        begun.elapsed() > Duration::from_millis(150),
        "it did not wait for the place"
    );
}

#[tokio::test]
async fn the_stop_signal_ends_it() {
    let site = site(Limits::default(), true).await;
    assert_eq!(site.get("/healthz").await.0, 200);
    site.stop.request();
    let ended = tokio::time::timeout(Duration::from_secs(5), site.ended).await;
    assert!(ended.unwrap().unwrap().is_ok());
    assert!(TcpStream::connect(site.address).await.is_err());
}
