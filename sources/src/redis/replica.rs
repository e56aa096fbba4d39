//! The replication handshake: asks a server for one whole dump, as a replica would, on a socket of its own.
//!
//! The server forks and sends what it held at that instant. Both of its framings are read: a length before the dump,
//! or a mark behind it that was announced before.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::client::{Refusal, sign_in_command};
use super::resp::put_command;
use super::settings::RedisSettings;

/// Longest line of the handshake.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Length of the mark behind a dump without a length.
const MARK_BYTES: usize = 40;

/// How the end of the dump is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// It has so many bytes.
    Length(u64),
    /// These bytes follow it.
    Mark(Vec<u8>),
}

/// A dump that has begun.
pub(super) struct Replica {
    /// How its end is known.
    pub(super) framing: Framing,
    /// Its bytes, and those behind it.
    pub(super) stream: Box<dyn Read + Send>,
    /// Breaks the connection off.
    pub(super) breaker: Arc<Breaker>,
}

/// Breaks a connection off from another thread, so that a read that waits there returns.
pub(super) enum Breaker {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Breaker {
    /// Breaks it off.
    pub(super) fn break_off(&self) {
        // A connection that is already gone is what was wanted.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// Why there is no dump.
pub(super) enum NoReplica {
    /// The server does not let this user replicate: another way may work.
    NotAllowed(Refusal),
    /// Anything else.
    Failed(SourceError),
}

impl From<SourceError> for NoReplica {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// Asks for a dump and waits until it begins: its instant is then pinned.
pub(super) fn request_dump(settings: &RedisSettings) -> Result<Replica, NoReplica> {
    let (mut stream, breaker) = connect(settings)?;
    let place = settings.host_and_port();
    let mut handshake = Handshake {
        stream: &mut *stream,
        place: &place,
    };
    if let Some(command) = sign_in_command(settings) {
        let act = format!("cannot sign in to redis at {place}");
        handshake
            .exchange(&command, &act)?
            .map_err(|refusal| SourceError::new(SourceErrorKind::Denied, act).because(refusal))?;
    }
    let act = format!("cannot replicate redis at {place}");
    let framing = handshake.begin(&act)?;
    Ok(Replica {
        framing,
        stream: Box::new(ReadOnly(stream)),
        breaker: Arc::new(breaker),
    })
}

trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

struct ReadOnly(Box<dyn Duplex>);

impl Read for ReadOnly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

struct Handshake<'a> {
    stream: &'a mut dyn Duplex,
    place: &'a str,
}

impl Handshake<'_> {
    fn begin(&mut self, act: &str) -> Result<Framing, NoReplica> {
        // Understood since 2.8: the dump may have a mark instead of a length.
        if let Err(refusal) = self.command(&["REPLCONF", "capa", "eof"], act)?
            && refusal.is_not_allowed()
        {
            return Err(NoReplica::NotAllowed(refusal));
        }
        // Understood since 6.2: the server then keeps no buffer of commands for us. Older ones refuse it.
        let _ = self.command(&["REPLCONF", "rdb-only", "1"], act)?;
        let mut answer = self.command(&["SYNC"], act)?;
        if answer.as_ref().is_err_and(Refusal::is_not_allowed) {
            answer = self.command(&["PSYNC", "?", "-1"], act)?;
        }
        match answer {
            Ok(line) => Ok(self.framing(line, act)?),
            Err(refusal) if refusal.is_not_allowed() => Err(NoReplica::NotAllowed(refusal)),
            Err(refusal) => Err(refusal.of(act).into()),
        }
    }

    /// The line that announces the dump, behind others that announce the replication.
    fn framing(&mut self, mut line: Vec<u8>, act: &str) -> Result<Framing, SourceError> {
        while line.starts_with(b"+FULLRESYNC") {
            line = self.line(act)?;
        }
        if let Some(mark) = line.strip_prefix(b"$EOF:")
            && mark.len() == MARK_BYTES
        {
            return Ok(Framing::Mark(mark.to_vec()));
        }
        line.strip_prefix(b"$")
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .map(Framing::Length)
            .ok_or_else(|| {
                SourceError::new(SourceErrorKind::Other, act)
                    .because("the answer has an unexpected form")
            })
    }

    fn command(
        &mut self,
        arguments: &[&str],
        act: &str,
    ) -> Result<Result<Vec<u8>, Refusal>, SourceError> {
        let mut bytes = Vec::new();
        put_command(&mut bytes, arguments);
        self.exchange(&bytes, act)
    }

    fn exchange(
        &mut self,
        command: &[u8],
        act: &str,
    ) -> Result<Result<Vec<u8>, Refusal>, SourceError> {
        let sent = self
            .stream
            .write_all(command)
            .and_then(|()| self.stream.flush());
        sent.map_err(|error| stream_failure(act, error))?;
        let line = self.line(act)?;
        let Some(refusal) = line.strip_prefix(b"-") else {
            return Ok(Ok(line));
        };
        let text = String::from_utf8_lossy(refusal);
        let (code, text) = text.split_once(' ').unwrap_or((&text, ""));
        Ok(Err(Refusal {
            code: code.to_owned(),
            text: text.to_owned(),
        }))
    }

    /// One line; empty ones only say that the server lives. Read byte by byte, since the dump follows.
    fn line(&mut self, act: &str) -> Result<Vec<u8>, SourceError> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            self.stream
                .read_exact(&mut byte)
                .map_err(|error| stream_failure(act, error))?;
            match byte {
                [b'\n'] if line.is_empty() => {}
                [b'\n'] => {
                    line.pop_if(|last| *last == b'\r');
                    return Ok(line);
                }
                [byte] => line.push(byte),
            }
            if line.len() > LINE_BYTES_MAX {
                let problem = format!("redis at {} sent a line without an end", self.place);
                return Err(SourceError::new(SourceErrorKind::Other, act).because(problem));
            }
        }
    }
}

/// What a failed read or write of the stream means.
pub(super) fn stream_failure(act: &str, error: io::Error) -> SourceError {
    use io::ErrorKind::{ConnectionRefused, TimedOut, WouldBlock};
    match error.kind() {
        // A socket with a time-out answers one or the other.
        TimedOut | WouldBlock => {
            SourceError::new(SourceErrorKind::Unreachable, act).because("no answer came in time")
        }
        ConnectionRefused => SourceError::new(SourceErrorKind::Unreachable, act).because(error),
        io::ErrorKind::UnexpectedEof => {
            SourceError::new(SourceErrorKind::Interrupted, act).because("the connection was closed")
        }
        _ => SourceError::new(SourceErrorKind::Interrupted, act).because(error),
    }
}

fn connect(settings: &RedisSettings) -> Result<(Box<dyn Duplex>, Breaker), SourceError> {
    let act = format!("cannot connect to redis at {}", settings.host_and_port());
    connect_socket(settings)
        .map_err(|error| SourceError::new(SourceErrorKind::Unreachable, act).because(error))
}

fn connect_socket(settings: &RedisSettings) -> io::Result<(Box<dyn Duplex>, Breaker)> {
    let timeout = Some(settings.answer_timeout);
    if let Some(path) = &settings.unix_socket {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        let breaker = Breaker::Unix(stream.try_clone()?);
        return Ok((Box::new(stream), breaker));
    }
    let stream = connect_tcp(settings)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)?;
    let breaker = Breaker::Tcp(stream.try_clone()?);
    if settings.tls {
        let tls = start_tls(settings)?;
        return Ok((Box::new(rustls::StreamOwned::new(tls, stream)), breaker));
    }
    Ok((Box::new(stream), breaker))
}

fn connect_tcp(settings: &RedisSettings) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (settings.host.as_str(), settings.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, settings.connect_timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn start_tls(settings: &RedisSettings) -> io::Result<rustls::ClientConnection> {
    choose_cryptography();
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = &settings.tls_roots_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(io::Error::other)?;
            roots.add(certificate).map_err(io::Error::other)?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
    rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

/// Names the cryptography that TLS uses, where several are linked and nobody has chosen.
pub(super) fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been first; it chose the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}
