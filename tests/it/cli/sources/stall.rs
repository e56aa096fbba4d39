//! A line to a server that stops at a chosen request, so that whoever waits there can be killed there.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// What the server sees of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing.
    Before,
    /// All of it; its answer is withheld.
    After,
}

/// Stops once, behind these words of a client in this order on one connection. Its threads end with the test.
pub(super) struct Stall {
    port: u16,
    reached: Receiver<()>,
}

#[derive(Clone)]
struct Rule {
    words: &'static [&'static str],
    stop: Stop,
    used: Arc<AtomicBool>,
    reached: Sender<()>,
}

impl Stall {
    pub(super) fn start(server: u16, words: &'static [&'static str], stop: Stop) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, reached) = channel();
        let rule = Rule {
            words,
            stop,
            used: Arc::default(),
            reached: sender,
        };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (to_server, to_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (rule, withheld) = (rule.clone(), Arc::new(AtomicBool::new(false)));
                let reached = rule.reached.clone();
                let flag = Arc::clone(&withheld);
                thread::spawn(move || pass_requests(client, to_server, &rule, &flag));
                thread::spawn(move || pass_answers(server, to_client, &withheld, &reached));
            }
        });
        Self { port, reached }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until somebody stands there.
    pub(super) fn wait(&self) {
        self.reached
            .recv_timeout(Duration::from_secs(60))
            .expect("the request that is waited for");
    }
}

fn pass_requests(mut client: TcpStream, mut server: TcpStream, rule: &Rule, withheld: &AtomicBool) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
        let is_there = holds_in_order(&seen, rule.words) && !rule.used.swap(true, Ordering::SeqCst);
        if is_there && rule.stop == Stop::Before {
            rule.reached.send(()).unwrap();
            while let Ok(1..) = client.read(&mut buffer) {}
            break;
        }
        if is_there {
            withheld.store(true, Ordering::SeqCst);
        }
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

fn pass_answers(
    mut server: TcpStream,
    mut client: TcpStream,
    withheld: &AtomicBool,
    reached: &Sender<()>,
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if withheld.load(Ordering::SeqCst) {
            // The test may have ended.
            let _ = reached.send(());
        } else if client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn holds_in_order(seen: &[u8], words: &[&str]) -> bool {
    let mut rest = seen;
    words.iter().all(|word| {
        let found = rest
            .windows(word.len())
            .position(|window| window == word.as_bytes());
        found.is_some_and(|at| {
            rest = &rest[at + word.len()..];
            true
        })
    })
}
