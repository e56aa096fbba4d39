//! A proxy on the loopback that breaks connections on purpose.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// What happens after so many bytes of one connection.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Behind so many bytes of answers the connection is closed: the client does not learn what was done.
    Cut(usize),
    /// Behind so many bytes of answers nothing more comes, and nothing is closed.
    Stall(usize),
    /// Behind so many bytes of requests the connection is closed: as if the client had been killed there.
    CutRequests(usize),
}

/// Listens, passes on, and breaks. Its threads end with the test process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
}

impl Proxy {
    /// Starts in front of a port of the loopback.
    pub fn before(port: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        let own_port = listener.local_addr().expect("the port of the proxy").port();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let requests = (
                    client.try_clone().expect("a socket"),
                    server.try_clone().expect("a socket"),
                );
                let (asked, answered) = match fault {
                    Fault::CutRequests(limit) => (Some(Fault::Cut(limit)), None),
                    fault => (None, Some(fault)),
                };
                thread::spawn(move || pass(requests.0, requests.1, asked));
                thread::spawn(move || pass(server, client, answered));
            }
        });
        Self { port: own_port }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, fault: Option<Fault>) {
    let mut passed = 0;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let (limit, stall) = match fault {
            Some(Fault::Cut(limit) | Fault::CutRequests(limit)) => (limit, false),
            Some(Fault::Stall(limit)) => (limit, true),
            None => (usize::MAX, false),
        };
        let allowed = length.min(limit - passed);
        if to.write_all(&buffer[..allowed]).is_err() {
            break;
        }
        passed += allowed;
        if passed == limit && stall {
            // Reads on so that the server does not notice, and says nothing.
            while let Ok(1..) = from.read(&mut buffer) {}
            return;
        }
        if passed == limit {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
