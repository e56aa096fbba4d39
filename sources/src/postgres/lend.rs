//! Lends a session to a program that would otherwise connect to the server by itself.
//!
//! The program finds a server's Unix socket in a folder that only we can enter. What it asks there is asked over our
//! session, so that it sees our snapshot and needs no lock that we do not hold: a second session would wait behind
//! whoever waits for ours, which the server cannot see to be a deadlock. What it sets is taken back when it is gone; what
//! it finds is what every session of ours sets first, so that its text does not depend on who asks which server.

use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use bytes::{Buf as _, BytesMut};
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Session, put_message};
use super::error::PgError;
use super::rows::PLAIN_SCANS;
use super::socket::{Listener, Socket};

/// Longest message that is taken of the program: a list of all tables in one query.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Codes by which a connection asks to be encrypted, in one way or the other.
const ENCRYPT_CODES: [u32; 2] = [80_877_103, 80_877_104];
/// Major version of the protocol, in the upper half of the code of a connection that begins.
const PROTOCOL_MAJOR: u32 = 3;
/// How the transaction stands: there is none.
const NO_TRANSACTION: u8 = b'I';

/// What a server says of itself to whoever connects.
const PARAMETERS: &str = "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.unnest('{server_version,\
    server_encoding,client_encoding,is_superuser,session_authorization,DateStyle,IntervalStyle,TimeZone,\
    integer_datetimes,standard_conforming_strings}'::pg_catalog.text[]) name";

/// Runs an act that starts a program and ends when that has ended. The program is told the folder as its host.
pub(crate) fn lend<T>(
    session: &mut Session,
    act: &str,
    run: impl FnOnce(&Path) -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    let (socket, listener) = Socket::open().map_err(|error| {
        let problem = format!("cannot make a socket for it: {error}");
        SourceError::new(SourceErrorKind::Other, act).because(problem)
    })?;
    let parameters = prepare(session).map_err(|error| error.during(act))?;
    let borrowed = &mut *session;
    let (served, done) = thread::scope(|scope| {
        let server = scope.spawn(move || serve(listener, &parameters, borrowed));
        let done = run(socket.folder());
        // A program that never came is no longer waited for.
        drop(UnixStream::connect(socket.path()));
        let served = server
            .join()
            .unwrap_or_else(|_| Err(PgError::Protocol("none".into())));
        (served, done)
    });
    // Why the server did not answer says more than that the program had no answer.
    served.map_err(|error| error.during(act))?;
    let done = done?;
    session
        .renew()
        .and_then(|()| session.execute(PLAIN_SCANS))
        .map_err(|error| error.during(act))?;
    Ok(done)
}

/// Makes the session as good as new, and what the program is greeted with.
fn prepare(session: &mut Session) -> Result<BytesMut, PgError> {
    session.renew()?;
    // Whoever connects is welcome: only we can enter the folder.
    let mut greeting = BytesMut::new();
    put_message(&mut greeting, b'R', &[0; 4])?;
    for row in session.query(PARAMETERS)? {
        let parameter = format!("{}\0{}\0", row.text(0), row.text(1));
        put_message(&mut greeting, b'S', parameter.as_bytes())?;
    }
    put_message(&mut greeting, b'Z', b"T")?;
    Ok(greeting)
}

/// Answers one connection until it ends. Its own faults are not ours: the program says what it lacks.
fn serve(listener: Listener, greeting: &[u8], session: &mut Session) -> Result<(), PgError> {
    let Ok(mut program) = listener.accept_one() else {
        return Ok(());
    };
    if !matches!(begins(&mut program), Ok(true)) || program.write_all(greeting).is_err() {
        return Ok(());
    }
    let Ok(answers) = program.try_clone() else {
        return Ok(());
    };
    let mut answers = BufWriter::new(answers);
    while let Ok(Some(query)) = next_query(&mut program) {
        let mut gone = false;
        let stands = session.relay(&query, &mut |message| {
            answers.write_all(message).map_err(|error| {
                gone = true;
                error.into()
            })
        });
        match stands {
            Ok(NO_TRANSACTION) => {
                return Err(PgError::Protocol("the end of our transaction".into()));
            }
            Err(_) if gone => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) if answers.flush().is_err() => return Ok(()),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Reads how a connection begins and tells whether it wants to ask something.
fn begins(program: &mut UnixStream) -> Result<bool, PgError> {
    loop {
        let body = read_body(program)?;
        let code = body.as_slice().try_get_u32().unwrap_or_default();
        if !ENCRYPT_CODES.contains(&code) {
            return Ok(code >> 16 == PROTOCOL_MAJOR);
        }
        program.write_all(b"N")?;
    }
}

/// The next query as a whole message; none if the program says goodbye or anything else.
fn next_query(program: &mut UnixStream) -> Result<Option<BytesMut>, PgError> {
    let mut tag = [0];
    program.read_exact(&mut tag)?;
    if tag != *b"Q" {
        return Ok(None);
    }
    let body = read_body(program)?;
    let mut message = BytesMut::with_capacity(body.len() + 5);
    put_message(&mut message, b'Q', &body)?;
    Ok(Some(message))
}

fn read_body(program: &mut UnixStream) -> Result<Vec<u8>, PgError> {
    let mut length = [0; 4];
    program.read_exact(&mut length)?;
    let length = usize::try_from(length.as_slice().get_u32()).ok();
    let length = length.and_then(|length| length.checked_sub(4));
    let problem = || PgError::Protocol("a message of pg_dump that is none".into());
    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX);
    let mut body = vec![0; length.ok_or_else(problem)?];
    program.read_exact(&mut body)?;
    Ok(body)
}
