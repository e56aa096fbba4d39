//! Sessions: this file and `login` alone speak PostgreSQL's protocol.
//!
//! Everything goes through the simple query protocol: statements are text, values come back as text. The `postgres`
//! crate hides the two things this source stands on, the row count that ends a COPY and a time-out on an answer,
//! so this is a small blocking client on `postgres-protocol`, which brings the messages and the passwords.

use std::io;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use fallible_iterator::FallibleIterator as _;
use keepstone_engine::source::SourceError;
use postgres_protocol::message::backend::{
    COPY_DATA_TAG, DataRowBody, ErrorFields, ErrorResponseBody, Header, Message,
    NOTICE_RESPONSE_TAG, READY_FOR_QUERY_TAG,
};
use postgres_protocol::message::frontend;

use super::error::PgError;
use super::settings::PostgresSettings;
use super::wire::{Stop, Wire};

/// Longest message that is taken: a row of a table holds at most 1 GiB.
const MESSAGE_BYTES_MAX: usize = (1 << 30) + (1 << 20);
/// How long we try to tell the server that an answer is no longer wanted.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of one message of a copy into the server.
const COPY_PIECE_BYTES: usize = 64 * 1024;

/// What every session sets first: whatever shapes the text of a value or of a definition, and whatever could end it too
/// early. The path comes before all else: the owner of a database can set it, and what is called by its name alone would
/// be theirs, with our rights. The last two time-outs are not known to every server.
const PINNED: &str = "SET search_path = ''; SET client_encoding = 'UTF8'; SET datestyle = 'ISO, YMD'; \
    SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3; \
    SET bytea_output = 'hex'; SET xmloption = 'content'; SET lc_monetary = 'C'; \
    SET quote_all_identifiers = off; SET standard_conforming_strings = on; \
    SET synchronize_seqscans = off; SET row_security = off; SET statement_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET check_function_bodies = off; \
    SET default_transaction_read_only = off; SET client_min_messages = 'warning'; \
    SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
        WHERE name IN ('idle_session_timeout', 'transaction_timeout')";

/// Takes the next bytes of a copy into the server.
pub(crate) type Write<'a> = dyn FnMut(&[u8]) -> Result<(), PgError> + 'a;

/// One row of an answer, as text.
#[derive(Debug)]
pub(crate) struct Row(Vec<Option<String>>);

impl Row {
    /// A value; none for NULL.
    pub(crate) fn get(&self, column: usize) -> Option<&str> {
        self.0.get(column).and_then(Option::as_deref)
    }

    /// A value; empty for NULL.
    pub(crate) fn text(&self, column: usize) -> String {
        self.get(column).unwrap_or_default().to_owned()
    }

    /// A boolean; false for NULL.
    pub(crate) fn flag(&self, column: usize) -> bool {
        self.get(column) == Some("t")
    }

    /// A number; 0 for NULL and for anything else.
    pub(crate) fn number(&self, column: usize) -> i64 {
        self.get(column)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }
}

/// A connection to one database.
pub(crate) struct Session {
    pub(super) wire: Wire,
    pub(super) settings: PostgresSettings,
    version: String,
    pub(super) backend: (i32, i32),
    busy: bool,
}

impl Session {
    /// Connects, proves who we are, and pins the settings that shape values.
    pub(crate) fn connect(
        settings: &PostgresSettings,
        database: &str,
        stop: Stop,
    ) -> Result<Self, SourceError> {
        let act = || {
            format!(
                "cannot connect to database {database} at {}",
                settings.server()
            )
        };
        let wire = Wire::connect(settings, stop).map_err(|error| match error {
            // Before anything was agreed on, a connection that ends is a server that is not there.
            PgError::Io(error) if error.kind() != io::ErrorKind::Other => {
                PgError::Io(io::Error::new(io::ErrorKind::NotConnected, error)).during(act())
            }
            error => error.during(act()),
        })?;
        let mut session = Self {
            wire,
            settings: settings.clone(),
            version: String::new(),
            backend: (0, 0),
            busy: true,
        };
        session
            .start(database)
            .map_err(|error| error.during(act()))?;
        session.wire.answer_timeout = Some(settings.timeouts.answer);
        session.pin("").map_err(|error| error.during(act()))?;
        Ok(session)
    }

    /// The server's version as it says it, for example `15.8 (Debian 15.8-1)`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Bounds the wait for the next byte of an answer; none for statements that may take hours.
    pub(crate) fn set_answer_timeout(&mut self, timeout: Option<Duration>) {
        self.wire.answer_timeout = timeout;
    }

    /// Runs a statement and gives its rows.
    pub(crate) fn query(&mut self, sql: &str) -> Result<Vec<Row>, PgError> {
        let mut rows = Vec::new();
        self.send_query(sql.as_bytes())?;
        self.until_ready(|message| match message {
            Message::DataRow(row) => {
                rows.push(parse_row(&row)?);
                Ok(())
            }
            Message::RowDescription(_)
            | Message::CommandComplete(_)
            | Message::EmptyQueryResponse => Ok(()),
            _ => Err(PgError::Protocol("a message that answers no query".into())),
        })?;
        Ok(rows)
    }

    /// Runs statements whose answers are not wanted.
    pub(crate) fn execute(&mut self, sql: &str) -> Result<(), PgError> {
        self.execute_bytes(sql.as_bytes())
    }

    /// The same for a statement that may not be UTF-8.
    pub(crate) fn execute_bytes(&mut self, sql: &[u8]) -> Result<(), PgError> {
        self.send_query(sql)?;
        self.until_ready(|message| match message {
            Message::DataRow(_)
            | Message::RowDescription(_)
            | Message::CommandComplete(_)
            | Message::EmptyQueryResponse => Ok(()),
            _ => Err(PgError::Protocol(
                "a message that answers no statement".into(),
            )),
        })
    }

    /// Runs a COPY … TO STDOUT. Hands the data over in pieces of any length and answers how many rows the server
    /// says it has sent: the proof that the end was reached.
    pub(crate) fn copy_out(
        &mut self,
        sql: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<(), PgError>,
    ) -> Result<u64, PgError> {
        self.send_query(sql.as_bytes())?;
        match self.next()? {
            Message::CopyOutResponse(_) => {}
            Message::ErrorResponse(body) => return Err(self.failed(&body)),
            _ => return Err(PgError::Protocol("no COPY to read".into())),
        }
        loop {
            while let Some(length) = self.buffered_copy_data()? {
                let piece = self.wire.inbox.get(5..length).unwrap_or_default();
                take(piece)?;
                self.wire.consume(length);
            }
            if self
                .wire
                .inbox
                .first()
                .is_none_or(|tag| *tag == COPY_DATA_TAG)
            {
                self.wire.fill()?;
                continue;
            }
            match self.next()? {
                Message::CopyDone => return self.copied_rows(),
                Message::CopyData(body) => take(body.data())?,
                Message::ErrorResponse(body) => return Err(self.failed(&body)),
                _ => return Err(PgError::Protocol("a message inside a COPY".into())),
            }
        }
    }

    /// Runs a COPY … FROM STDIN with the bytes that `give` hands to its writer, and answers how many rows the server
    /// says it has taken.
    pub(crate) fn copy_in(
        &mut self,
        sql: &str,
        give: &mut dyn FnMut(&mut Write<'_>) -> Result<(), PgError>,
    ) -> Result<u64, PgError> {
        self.send_query(sql.as_bytes())?;
        match self.next()? {
            Message::CopyInResponse(_) => {}
            Message::ErrorResponse(body) => return Err(self.failed(&body)),
            _ => return Err(PgError::Protocol("no COPY to write".into())),
        }
        let mut out = BytesMut::with_capacity(COPY_PIECE_BYTES + 5);
        let mut broken = false;
        let given = give(&mut |bytes| {
            for piece in bytes.chunks(COPY_PIECE_BYTES) {
                out.clear();
                put_message(&mut out, COPY_DATA_TAG, piece)?;
                self.wire.send(&out).inspect_err(|_| broken = true)?;
            }
            Ok(())
        });
        if let Err(error) = given {
            // Our side could not go on. The server is told, so that it keeps nothing of it.
            out.clear();
            frontend::copy_fail("the copy was given up", &mut out)?;
            // A connection that broke under our writing may still hold the reason.
            drop(self.wire.send(&out));
            return match self.until_ready(|_| Ok(())) {
                Err(server @ PgError::Server { .. }) if broken => Err(server),
                _ => Err(error),
            };
        }
        out.clear();
        frontend::copy_done(&mut out);
        self.wire.send(&out)?;
        self.copied_rows()
    }

    /// Takes back what somebody else set in this session or the server sets in every one, and sets what every session
    /// sets first. All in one message: nothing is called while the path is that of the database.
    pub(crate) fn renew(&mut self) -> Result<(), PgError> {
        self.pin("DEALLOCATE ALL; RESET ALL; ")
    }

    fn pin(&mut self, before: &str) -> Result<(), PgError> {
        let lock_ms = self.settings.timeouts.lock.as_millis();
        self.execute(&format!("{before}{PINNED}; SET lock_timeout = {lock_ms}"))
    }

    /// Hands a message of somebody else's on to the server, and each message of the answer back but for notices.
    /// Answers how the transaction stands then: the last byte of the server's last message.
    pub(crate) fn relay(
        &mut self,
        question: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), PgError>,
    ) -> Result<u8, PgError> {
        self.busy = true;
        self.wire.send(question)?;
        loop {
            let header = Header::parse(&self.wire.inbox)?;
            let length = header.map(message_length).transpose()?;
            let (Some(header), Some(length)) = (header, length) else {
                self.wire.fill()?;
                continue;
            };
            let Some(message) = self.wire.inbox.get(..length) else {
                self.wire.fill()?;
                continue;
            };
            let last = message.last().copied().unwrap_or_default();
            if header.tag() != NOTICE_RESPONSE_TAG {
                take(message)?;
            }
            self.wire.consume(length);
            if header.tag() == READY_FOR_QUERY_TAG {
                self.busy = false;
                return Ok(last);
            }
        }
    }

    /// Asks the server to end what this session is doing; for a statement that we no longer wait for.
    pub(crate) fn cancel(&self) {
        let mut settings = self.settings.clone();
        settings.timeouts.connect = settings.timeouts.connect.min(CANCEL_TIMEOUT);
        let Ok(mut wire) = Wire::connect(&settings, Stop::default()) else {
            return;
        };
        let mut out = BytesMut::new();
        frontend::cancel_request(self.backend.0, self.backend.1, &mut out);
        // The server answers by closing the connection; if it does not hear us, closing ours is all that is left.
        if wire.send(&out).is_ok() {
            drop(wire.fill());
        }
    }

    fn send_query(&mut self, sql: &[u8]) -> Result<(), PgError> {
        if sql.contains(&0) {
            return Err(PgError::Protocol("a statement that holds a NUL".into()));
        }
        let mut out = BytesMut::with_capacity(sql.len() + 6);
        let mut body = sql.to_vec();
        body.push(0);
        put_message(&mut out, b'Q', &body)?;
        self.busy = true;
        self.wire.send(&out)
    }

    /// Hands every message on until the server is ready again. The first error is kept; the rest is drained.
    pub(super) fn until_ready(
        &mut self,
        mut take: impl FnMut(Message) -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        let mut failure = None;
        loop {
            match self.next() {
                Ok(Message::ReadyForQuery(_)) => {
                    self.busy = false;
                    return failure.map_or(Ok(()), Err);
                }
                Ok(Message::ErrorResponse(body)) => {
                    failure.get_or_insert_with(|| server_error(body.fields()));
                }
                Ok(_) if failure.is_some() => {}
                Ok(message) => failure = take(message).err(),
                Err(error) => return Err(failure.unwrap_or(error)),
            }
        }
    }

    fn failed(&mut self, body: &ErrorResponseBody) -> PgError {
        let error = server_error(body.fields());
        // Whether the session can be used again does not matter to the caller, who gets the first error.
        drop(self.until_ready(|_| Ok(())));
        error
    }

    fn copied_rows(&mut self) -> Result<u64, PgError> {
        let mut rows = None;
        self.until_ready(|message| match message {
            Message::CommandComplete(body) => {
                rows = body
                    .tag()?
                    .strip_prefix("COPY ")
                    .and_then(|count| count.parse().ok());
                Ok(())
            }
            _ => Err(PgError::Protocol("a message after a COPY".into())),
        })?;
        rows.ok_or_else(|| PgError::Protocol("a COPY that says no row count".into()))
    }

    /// Length of the copy data message that lies whole in the inbox.
    fn buffered_copy_data(&self) -> Result<Option<usize>, PgError> {
        let inbox = &self.wire.inbox;
        match Header::parse(inbox)? {
            Some(header) if header.tag() == COPY_DATA_TAG => {
                let length = message_length(header)?;
                Ok((inbox.len() >= length).then_some(length))
            }
            _ => Ok(None),
        }
    }

    /// The next message that is not only said in passing.
    pub(super) fn next(&mut self) -> Result<Message, PgError> {
        loop {
            if let Some(header) = Header::parse(&self.wire.inbox)? {
                message_length(header)?;
            }
            match Message::parse(&mut self.wire.inbox)? {
                None => self.wire.fill()?,
                Some(Message::ParameterStatus(body)) => {
                    if body.name()? == "server_version" {
                        body.value()?.clone_into(&mut self.version);
                    }
                }
                Some(Message::NoticeResponse(_) | Message::NotificationResponse(_)) => {}
                Some(message) => return Ok(message),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.busy && self.backend != (0, 0) {
            self.cancel();
        }
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // The server ends the session as well when the connection just closes.
        drop(self.wire.send(&out));
    }
}

pub(super) fn put_message(out: &mut BytesMut, tag: u8, body: &[u8]) -> Result<(), PgError> {
    let length = i32::try_from(body.len() + 4)
        .map_err(|_| PgError::Protocol("a message longer than 2 GiB".into()))?;
    out.put_u8(tag);
    out.put_i32(length);
    out.put_slice(body);
    Ok(())
}

fn message_length(header: Header) -> Result<usize, PgError> {
    usize::try_from(header.len())
        .ok()
        .map(|length| length + 1)
        .filter(|length| *length <= MESSAGE_BYTES_MAX)
        .ok_or_else(|| PgError::Protocol("a message longer than 1 GiB".into()))
}

fn parse_row(body: &DataRowBody) -> Result<Row, PgError> {
    let mut values = Vec::new();
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next()? {
        let bytes = range.and_then(|range| body.buffer().get(range));
        let text = bytes
            .map(|bytes| String::from_utf8(bytes.to_vec()))
            .transpose();
        values.push(text.map_err(|_| PgError::Protocol("a value that is not UTF-8".into()))?);
    }
    Ok(Row(values))
}

/// Takes the first message of a server apart, as far as a session looks into messages, and tells whether it makes
/// sense: tests throw anything at it.
pub fn look_into_message(bytes: &[u8]) -> bool {
    let length = Header::parse(bytes).map(|header| header.map(message_length));
    let Ok(Some(Ok(_))) = length else {
        return false;
    };
    match Message::parse(&mut BytesMut::from(bytes)) {
        Ok(Some(Message::DataRow(body))) => parse_row(&body).is_ok(),
        Ok(Some(Message::ErrorResponse(body))) => !server_error(body.fields()).code().is_empty(),
        Ok(Some(Message::CommandComplete(body))) => body.tag().is_ok(),
        Ok(Some(Message::ParameterStatus(body))) => body.name().is_ok() && body.value().is_ok(),
        Ok(Some(Message::AuthenticationSasl(body))) => body.mechanisms().count().is_ok(),
        Ok(Some(_)) => true,
        Ok(None) | Err(_) => false,
    }
}

pub(super) fn server_error(mut fields: ErrorFields<'_>) -> PgError {
    let (mut code, mut message, mut detail) = (String::new(), String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes());
        match field.type_() {
            b'C' => code = value.into_owned(),
            b'M' => message = value.into_owned(),
            // Detail and context. One line each, because an error is one line.
            b'D' | b'W' => {
                detail.push_str(": ");
                detail.push_str(&value.replace('\n', "; "));
            }
            _ => {}
        }
    }
    PgError::Server {
        code,
        message,
        detail,
    }
}
