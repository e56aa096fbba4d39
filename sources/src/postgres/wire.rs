//! The connection under a session: TCP or a Unix socket, encrypted or not, with time-outs on every wait.
//!
//! Reads wake up twice a second, so that a wait ends soon after somebody asks to stop.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use postgres_protocol::message::frontend;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::error::PgError;
use super::settings::{Host, PostgresSettings, SslMode};
use super::tls::Unverified;

/// How often a wait looks whether it should go on.
const TICK: Duration = Duration::from_millis(500);
/// How much is read at once.
const READ_BYTES: usize = 128 * 1024;

/// Asks every wait that holds a clone of it to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to stop.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

enum Transport {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Unix(UnixStream),
}

/// Bytes to and from a server.
pub(crate) struct Wire {
    transport: Transport,
    stop: Stop,
    /// How long to wait for the next byte; none for ever.
    pub(crate) answer_timeout: Option<Duration>,
    /// What was read and not yet looked at.
    pub(crate) inbox: BytesMut,
    scratch: Box<[u8]>,
}

impl Wire {
    /// Connects and, where the settings say so, encrypts.
    pub(crate) fn connect(settings: &PostgresSettings, stop: Stop) -> Result<Self, PgError> {
        let transport = match &settings.host {
            Host::Unix(folder) => {
                let socket = folder.join(format!(".s.PGSQL.{}", settings.port));
                let stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(settings.timeouts.answer))?;
                Transport::Unix(stream)
            }
            Host::Tcp(host) => {
                let stream = connect_tcp(host, settings)?;
                encrypt(stream, host, settings)?
            }
        };
        Ok(Self {
            transport,
            stop,
            answer_timeout: Some(settings.timeouts.connect),
            inbox: BytesMut::with_capacity(READ_BYTES),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// Writes all of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), PgError> {
        let writer: &mut dyn Write = match &mut self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Tls(stream) => stream,
            Transport::Unix(stream) => stream,
        };
        writer.write_all(bytes)?;
        Ok(writer.flush()?)
    }

    /// Waits for more bytes and adds them to the inbox.
    pub(crate) fn fill(&mut self) -> Result<(), PgError> {
        let since = Instant::now();
        loop {
            let reader: &mut dyn Read = match &mut self.transport {
                Transport::Tcp(stream) => stream,
                Transport::Tls(stream) => stream,
                Transport::Unix(stream) => stream,
            };
            match reader.read(&mut self.scratch) {
                Ok(0) => return Err(PgError::Closed),
                Ok(count) => {
                    self.inbox
                        .extend_from_slice(self.scratch.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if self.stop.is_set() {
                return Err(PgError::Stopped);
            }
            let waited = self
                .answer_timeout
                .filter(|timeout| since.elapsed() >= *timeout);
            if let Some(timeout) = waited {
                return Err(PgError::Timeout(timeout.as_secs()));
            }
        }
    }

    /// Drops `count` bytes that were looked at.
    pub(crate) fn consume(&mut self, count: usize) {
        self.inbox.advance(count.min(self.inbox.len()));
    }
}

fn is_tick(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn connect_tcp(host: &str, settings: &PostgresSettings) -> Result<TcpStream, PgError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, settings.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, settings.timeouts.connect) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(settings.timeouts.answer))?;
                // A wait without a time-out (an index that takes hours) still notices a dead peer.
                rustix::net::sockopt::set_socket_keepalive(&stream, true)
                    .map_err(io::Error::from)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

fn encrypt(
    mut stream: TcpStream,
    host: &str,
    settings: &PostgresSettings,
) -> Result<Transport, PgError> {
    if settings.ssl_mode == SslMode::Disable {
        return Ok(Transport::Tcp(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request)?;
    stream.set_read_timeout(Some(settings.timeouts.connect))?;
    let mut answer = [0];
    stream
        .read_exact(&mut answer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PgError::Closed,
            _ if is_tick(&error) => PgError::Timeout(settings.timeouts.connect.as_secs()),
            _ => error.into(),
        })?;
    match answer {
        [b'S'] => {
            let config = tls_config(settings)?;
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| PgError::Tls(format!("{host} is no name for a certificate")))?;
            let connection = ClientConnection::new(Arc::new(config), name)
                .map_err(|error| PgError::Tls(error.to_string()))?;
            let mut stream = StreamOwned::new(connection, stream);
            // The handshake happens here, so that its failure is told as one.
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| PgError::Tls(error.to_string()))?;
            stream.sock.set_read_timeout(Some(TICK))?;
            Ok(Transport::Tls(Box::new(stream)))
        }
        [b'N'] if settings.ssl_mode == SslMode::Prefer => {
            stream.set_read_timeout(Some(TICK))?;
            Ok(Transport::Tcp(stream))
        }
        [b'N'] => Err(PgError::Tls("the server offers no encryption".into())),
        _ => Err(PgError::Protocol("no answer to the wish to encrypt".into())),
    }
}

fn tls_config(settings: &PostgresSettings) -> Result<ClientConfig, PgError> {
    let told = |error: rustls::Error| PgError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(told)?;
    if let Some(path) = &settings.ssl_root_cert {
        return Ok(builder
            .with_root_certificates(root_certificates(path)?)
            .with_no_client_auth());
    }
    let verifier: Arc<dyn rustls::client::danger::ServerCertVerifier> = match settings.ssl_mode {
        SslMode::VerifyFull => {
            Arc::new(rustls_platform_verifier::Verifier::new(provider).map_err(told)?)
        }
        _ => Arc::new(Unverified::new(&provider)),
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn root_certificates(path: &Path) -> Result<RootCertStore, PgError> {
    let told = |error: &dyn std::fmt::Display| {
        PgError::Tls(format!(
            "cannot read the root certificate {}: {error}",
            path.display()
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| told(&error))? {
        let certificate = certificate.map_err(|error| told(&error))?;
        roots.add(certificate).map_err(|error| told(&error))?;
    }
    Ok(roots)
}
