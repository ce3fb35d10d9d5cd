//! A server that cannot be trusted: a port that stands before a real MySQL server, passes everything on, and plays a script of its
//! own where a statement asks for it or where it is told to greet with one. So the proxy before it works as ever until then.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::mysql::MySql;

/// What is played in place of an answer or of a greeting: it may write what it likes, and the connection is closed when it is over.
pub type Script = fn(&mut Stage);

/// The hostile end of one connection to the proxy.
pub struct Stage {
    proxy: TcpStream,
    over: Arc<AtomicBool>,
}

impl Stage {
    /// Sends bytes as they are; false when the proxy has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        !self.over.load(Relaxed) && self.proxy.write_all(bytes).is_ok()
    }

    /// The next packet of the proxy, or nothing when it has gone.
    pub fn read_packet(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        self.proxy.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
        self.proxy.read_exact(&mut payload).ok()?;
        Some(payload)
    }

    /// Says nothing until the proxy closes the connection.
    pub fn be_silent(&mut self) {
        let mut block = [0; 4096];
        let _ = self
            .proxy
            .set_read_timeout(Some(Duration::from_millis(100)));
        while !self.over.load(Relaxed) {
            match self.proxy.read(&mut block) {
                Ok(0) => return,
                Err(error) if !is_wait(&error) => return,
                _ => {}
            }
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// The port.
pub struct Hostile {
    /// Where the proxy connects.
    pub port: u16,
    greeting: Arc<Mutex<Option<Script>>>,
    over: Arc<AtomicBool>,
}

impl Hostile {
    /// A port before `server`. A COM_QUERY with `/*hostile:NAME*/` in it is answered by the script of that name.
    pub fn before(server: &MySql, scripts: &'static [(&'static str, Script)]) -> Hostile {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (greeting, over) = (
            Arc::new(Mutex::new(None::<Script>)),
            Arc::new(AtomicBool::new(false)),
        );
        let (greets, ends, behind) = (greeting.clone(), over.clone(), server.port);
        std::thread::spawn(move || {
            for proxy in listener.incoming().flatten() {
                if ends.load(Relaxed) {
                    return;
                }
                let (script, over) = (*greets.lock().expect("not poisoned"), ends.clone());
                std::thread::spawn(move || {
                    let mut stage = Stage { proxy, over };
                    match script {
                        Some(script) => script(&mut stage),
                        None => pass_on(stage, behind, scripts),
                    }
                });
            }
        });
        Hostile {
            port,
            greeting,
            over,
        }
    }

    /// New connections are greeted by a script, or by the real server again.
    pub fn greet(&self, script: Option<Script>) {
        *self.greeting.lock().expect("not poisoned") = script;
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes everything on in both directions until a statement asks for a script.
fn pass_on(mut stage: Stage, behind: u16, scripts: &'static [(&'static str, Script)]) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", behind)) else {
        return;
    };
    for stream in [&stage.proxy, &server] {
        stream.set_nodelay(true).expect("the option can be set");
    }
    let (mut from, mut to) = (
        server.try_clone().expect("a handle"),
        stage.proxy.try_clone().expect("a handle"),
    );
    let copy = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut block = vec![0; 65_536];
    let mut script = None;
    while let Ok(count @ 1..) = stage.proxy.read(&mut block) {
        let text = String::from_utf8_lossy(&block[..count]);
        script = scripts
            .iter()
            .find(|(name, _)| text.contains(&format!("/*hostile:{name}*/")))
            .filter(|_| block[4] == 0x03);
        if script.is_some() || server.write_all(&block[..count]).is_err() {
            break;
        }
    }
    if let Some((_, script)) = script {
        script(&mut stage);
    }
    for stream in [&stage.proxy, &server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
    let _ = copy.join();
}
