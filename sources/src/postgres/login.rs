//! The beginning of a session: who we are, and the proof of it.
//!
//! A password is asked for only when the server wants one, and lives no longer than the proof.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::client::{Session, server_error};
use super::error::PgError;

/// Name under which the server lists our sessions.
const APPLICATION_NAME: &str = "keepstone";

impl Session {
    pub(super) fn start(&mut self, database: &str) -> Result<(), PgError> {
        let parameters = [
            ("user", self.settings.user.as_str()),
            ("database", database),
            ("client_encoding", "UTF8"),
            ("application_name", APPLICATION_NAME),
        ];
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)?;
        self.wire.send(&out)?;
        loop {
            match self.next()? {
                Message::AuthenticationOk => break,
                Message::AuthenticationCleartextPassword => {
                    let password = self.password(database)?;
                    self.send_password(password.as_bytes())?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let password = self.password(database)?;
                    let user = self.settings.user.as_bytes();
                    let hash = authentication::md5_hash(user, password.as_bytes(), body.salt());
                    self.send_password(hash.as_bytes())?;
                }
                Message::AuthenticationSasl(body) => self.prove_by_scram(&body, database)?,
                Message::ErrorResponse(body) => return Err(server_error(body.fields())),
                _ => {
                    let problem = "the server asks for a kind of login that is not supported";
                    return Err(PgError::Credentials(problem.into()));
                }
            }
        }
        let mut backend = (0, 0);
        self.until_ready(|message| match message {
            Message::BackendKeyData(body) => {
                backend = (body.process_id(), body.secret_key());
                Ok(())
            }
            _ => Err(PgError::Protocol("a message before the first query".into())),
        })?;
        self.backend = backend;
        Ok(())
    }

    fn password(&self, database: &str) -> Result<zeroize::Zeroizing<String>, PgError> {
        let problem = "the server asks for a password and none is given";
        self.settings
            .password_for(database)?
            .ok_or_else(|| PgError::Credentials(problem.into()))
    }

    fn send_password(&mut self, password: &[u8]) -> Result<(), PgError> {
        let mut out = BytesMut::new();
        frontend::password_message(password, &mut out)?;
        self.wire.send(&out)
    }

    fn prove_by_scram(
        &mut self,
        offered: &AuthenticationSaslBody,
        database: &str,
    ) -> Result<(), PgError> {
        let mut mechanisms = offered.mechanisms();
        let mut known = false;
        while let Some(mechanism) = mechanisms.next()? {
            known |= mechanism == SCRAM_SHA_256;
        }
        if !known {
            let problem = "the server offers no SCRAM-SHA-256";
            return Err(PgError::Credentials(problem.into()));
        }
        let password = self.password(database)?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
        self.wire.send(&out)?;
        match self.next()? {
            Message::AuthenticationSaslContinue(body) => scram.update(body.data())?,
            Message::ErrorResponse(body) => return Err(server_error(body.fields())),
            _ => return Err(PgError::Protocol("no SCRAM challenge".into())),
        }
        out.clear();
        frontend::sasl_response(scram.message(), &mut out)?;
        self.wire.send(&out)?;
        match self.next()? {
            Message::AuthenticationSaslFinal(body) => Ok(scram.finish(body.data())?),
            Message::ErrorResponse(body) => Err(server_error(body.fields())),
            _ => Err(PgError::Protocol("no end of SCRAM".into())),
        }
    }
}
