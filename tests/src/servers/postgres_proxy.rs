//! A proxy between a client and PostgreSQL that breaks the line on purpose.
//!
//! It understands where the client's messages begin, so that it can break between two statements: what the server sees
//! is then what it sees when the client's process is killed there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// When the line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Never.
    None,
    /// Before the statement of this number is passed on.
    BeforeStatement(u64),
    /// After the statement of this number was passed on, before its answer.
    AfterStatement(u64),
    /// After so many bytes from the server on one connection.
    AfterBytes(u64),
    /// After so many bytes from the client on one connection.
    AfterClientBytes(u64),
    /// Nothing is passed on after so many bytes from the server on one connection, and the line stays up.
    Stall(u64),
}

#[derive(Debug)]
struct Shared {
    fault: Fault,
    server_port: u16,
    statements: AtomicU64,
    dead: AtomicBool,
    stalled: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running proxy; its connections end when it is dropped.
#[derive(Debug)]
pub struct PostgresProxy {
    port: u16,
    shared: Arc<Shared>,
}

impl PostgresProxy {
    /// Listens on a free port before a server.
    pub fn start(server_port: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            fault,
            server_port,
            statements: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            streams: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.dead.load(Ordering::SeqCst) {
                    // The killed process connects no more; dropping the listener refuses the rest.
                    return;
                }
                accepting.pass(client);
            }
        });
        Self { port, shared }
    }

    /// Port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Statements that were passed on, over all connections.
    pub fn statements(&self) -> u64 {
        self.shared.statements.load(Ordering::SeqCst)
    }

    /// Whether the line was broken or went silent.
    pub fn is_broken(&self) -> bool {
        self.shared.dead.load(Ordering::SeqCst) || self.shared.stalled.load(Ordering::SeqCst)
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.shared.kill();
        // Wakes the listener, so that it sees that it is no longer wanted.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        for stream in self
            .streams
            .lock()
            .expect("no panic under the lock")
            .drain(..)
        {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn pass(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server_port)) else {
            return;
        };
        drop(server.set_nodelay(true));
        drop(client.set_nodelay(true));
        let pair = [&client, &server].map(|stream| stream.try_clone().expect("a clone"));
        self.streams
            .lock()
            .expect("no panic under the lock")
            .extend(pair);
        let (mut client_out, mut server_out) = (
            client.try_clone().expect("a clone"),
            server.try_clone().expect("a clone"),
        );
        let (mut client, mut server) = (client, server);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.pass_messages(&mut client, &mut server_out);
            drop(server_out.shutdown(Shutdown::Write));
        });
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.pass_bytes(&mut server, &mut client_out);
            drop(client_out.shutdown(Shutdown::Write));
        });
    }

    /// Client to server, a message at a time.
    fn pass_messages(&self, client: &mut TcpStream, server: &mut TcpStream) {
        let mut started = false;
        let mut passed = 0;
        loop {
            let mut head = vec![0; if started { 5 } else { 4 }];
            if client.read_exact(&mut head).is_err() {
                return;
            }
            let length = u32::from_be_bytes(head[head.len() - 4..].try_into().expect("four bytes"));
            let mut body = vec![0; length as usize - 4];
            if client.read_exact(&mut body).is_err() {
                return;
            }
            let is_statement = started && head[0] == b'Q';
            started = true;
            let number = if is_statement {
                self.statements.fetch_add(1, Ordering::SeqCst) + 1
            } else {
                0
            };
            if is_statement && self.fault == Fault::BeforeStatement(number) {
                return self.kill();
            }
            passed += u64::from(length);
            if matches!(self.fault, Fault::AfterClientBytes(limit) if passed > limit) {
                return self.kill();
            }
            if server.write_all(&[head, body].concat()).is_err() {
                return;
            }
            if is_statement && self.fault == Fault::AfterStatement(number) {
                return self.kill();
            }
        }
    }

    fn pass_bytes(&self, server: &mut TcpStream, client: &mut TcpStream) {
        let mut piece = vec![0; 16 * 1024];
        let mut passed = 0;
        while let Ok(count @ 1..) = server.read(&mut piece) {
            passed += count as u64;
            match self.fault {
                Fault::AfterBytes(limit) if passed > limit => return self.kill(),
                // Read on and say nothing.
                Fault::Stall(limit) if passed > limit => {
                    self.stalled.store(true, Ordering::SeqCst);
                    continue;
                }
                _ => {}
            }
            if client.write_all(&piece[..count]).is_err() {
                return;
            }
        }
    }
}
