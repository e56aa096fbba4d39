//! Transactions guarded by markers: they happen as a whole, and only if no other process was there meanwhile.

use std::collections::BTreeMap;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Answer, Client, Refusal, Value, text_of, unexpected};
use super::marker::{MARKER_KEY, Marker, RestoreId, Stage};
use super::resp::Batch;

/// What stands in the place of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The marker of this restore.
    Ours(Stage),
    /// The marker of another restore, or something else.
    Other(Option<Stage>),
}

/// A transaction that is being prepared. Until it is committed nothing of it happens.
pub(super) struct Transaction<'a> {
    client: &'a mut Client,
    act: String,
    batch: Batch,
    queued: usize,
}

impl<'a> Transaction<'a> {
    /// Looks at the markers of databases and watches them: the commit fails if one changes.
    pub(super) fn watch(
        client: &'a mut Client,
        act: impl Into<String>,
        id: RestoreId,
        databases: impl IntoIterator<Item = u32>,
    ) -> Result<(BTreeMap<u32, Found>, Self), SourceError> {
        let act = act.into();
        let mut found = BTreeMap::new();
        for db in databases {
            client.select(db)?;
            client.call(&act, &["WATCH".as_bytes(), MARKER_KEY])?;
            let marker = client.ask(&act, &["GET".as_bytes(), MARKER_KEY])?;
            found.insert(
                db,
                classify(marker, id).map_err(|refusal| refusal.of(&*act))?,
            );
        }
        let transaction = Self {
            client,
            act,
            batch: Batch::default(),
            queued: 0,
        };
        Ok((found, transaction))
    }

    /// The connection, for questions between the look and the first command.
    pub(super) fn client(&mut self) -> &mut Client {
        self.client
    }

    /// Adds a command.
    pub(super) fn push<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> Result<(), SourceError> {
        const CHUNK_COMMANDS: usize = 4_096;
        const CHUNK_BYTES: usize = 1 << 20;
        if self.queued == 0 && self.batch.count == 0 {
            self.batch.push(&["MULTI"]);
        }
        self.batch.push(arguments);
        if self.batch.count >= CHUNK_COMMANDS || self.batch.bytes.len() >= CHUNK_BYTES {
            self.send()?;
        }
        Ok(())
    }

    /// Adds the command that makes a database the current one.
    pub(super) fn select(&mut self, db: u32) -> Result<(), SourceError> {
        self.push(&["SELECT", &db.to_string()])
    }

    /// Adds the command that sets the marker of the current database.
    pub(super) fn mark(
        &mut self,
        stage: Stage,
        id: RestoreId,
        target: u32,
    ) -> Result<(), SourceError> {
        let marker = Marker { stage, id, target }.to_string();
        self.push(&["SET".as_bytes(), MARKER_KEY, marker.as_bytes()])
    }

    /// Does it all, or fails and nothing was done. Answers what each command answered.
    pub(super) fn commit(mut self) -> Result<Vec<Answer>, SourceError> {
        if self.queued == 0 && self.batch.count == 0 {
            self.client.call(&self.act, &["UNWATCH"])?;
            return Ok(Vec::new());
        }
        self.send()?;
        match self.client.call(&self.act, &["EXEC"])? {
            Value::Array(answers) => Ok(answers.into_iter().map(answer_of).collect()),
            Value::Nil => Err(SourceError::new(
                SourceErrorKind::Interrupted,
                format!("cannot {} of redis at {}", self.act, self.client.place()),
            )
            .because("another process worked on the same restore")),
            _ => Err(unexpected(&self.act, self.client.place())),
        }
    }

    /// Stops watching: nothing was changed.
    pub(super) fn leave(self) -> Result<(), SourceError> {
        let word = if self.queued == 0 {
            "UNWATCH"
        } else {
            "DISCARD"
        };
        self.client.call(&self.act, &[word])?;
        Ok(())
    }

    fn send(&mut self) -> Result<(), SourceError> {
        let answers = self.client.pipeline(&self.act, &self.batch)?;
        self.queued += self.batch.count;
        self.batch.clear();
        let refused = answers.into_iter().find_map(Result::err);
        match refused {
            Some(refusal) => {
                // Whoever goes on with this connection is in no transaction.
                let _left = self.client.ask(&self.act, &["DISCARD"]);
                Err(refusal.of(format!(
                    "cannot {} of redis at {}",
                    self.act,
                    self.client.place()
                )))
            }
            None => Ok(()),
        }
    }
}

/// The first of these databases that does not carry our marker at this stage, and what is there instead.
pub(super) fn first_without(
    found: &BTreeMap<u32, Found>,
    databases: impl IntoIterator<Item = u32>,
    stage: Stage,
) -> Option<(u32, Found)> {
    let there = |db| (db, found.get(&db).copied().unwrap_or(Found::Nothing));
    let mut databases = databases.into_iter().map(there);
    databases.find(|(_, found)| *found != Found::Ours(stage))
}

fn classify(marker: Answer, id: RestoreId) -> Result<Found, Refusal> {
    Ok(match marker {
        Ok(Value::Nil) => Found::Nothing,
        Ok(value) => {
            let parsed = text_of(&value).and_then(|text| Marker::parse(text.as_bytes()));
            match parsed {
                Some(marker) if marker.id == id => Found::Ours(marker.stage),
                marker => Found::Other(marker.map(|marker| marker.stage)),
            }
        }
        // Somebody keeps something else under that name.
        Err(refusal) if refusal.code == "WRONGTYPE" => Found::Other(None),
        Err(refusal) => return Err(refusal),
    })
}

fn answer_of(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(Refusal {
            code: error.code().to_owned(),
            text: error.details().unwrap_or_default().to_owned(),
        }),
        value => Ok(value),
    }
}
