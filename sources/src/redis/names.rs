//! The names of the keys that a restore moves, as it has noted them in the keep.

use keepstone_engine::source::SourceError;

use super::client::{Client, Value, elements_of, unexpected};
use super::marker::NAMES_KEY;
use super::plan::{Place, State};
use super::resp::Batch;

/// Names that are read at a time.
const NAMES_MAX: u64 = 10_000;

/// The names of the keys that a restore moves.
pub(super) struct Names {
    pages: Vec<Vec<Value>>,
}

impl Names {
    /// The names for each place; none where whole databases are swapped.
    pub(super) fn of_all(client: &mut Client, state: &State) -> Result<Vec<Self>, SourceError> {
        let of_place = |place: &Place| match place.keep {
            Some(keep) => Self::of(client, keep),
            None => Ok(Self { pages: Vec::new() }),
        };
        state.places.iter().map(of_place).collect()
    }

    fn of(client: &mut Client, keep: u32) -> Result<Self, SourceError> {
        let act = "read the names of the restored keys";
        client.select(keep)?;
        let mut pages = Vec::new();
        let mut start = 0_u64;
        loop {
            let (from, to) = (start.to_string(), (start + NAMES_MAX - 1).to_string());
            let command: [&[u8]; 4] = [b"LRANGE", NAMES_KEY, from.as_bytes(), to.as_bytes()];
            let page = elements_of(client.call(act, &command)?)
                .ok_or_else(|| unexpected(act, client.place()))?;
            if page.is_empty() {
                return Ok(Self { pages });
            }
            pages.push(page);
            start += NAMES_MAX;
        }
    }

    /// Forgets those that a database still holds.
    pub(super) fn drop_those_in(
        &mut self,
        client: &mut Client,
        db: u32,
    ) -> Result<(), SourceError> {
        let act = "look for keys that were not moved";
        client.select(db)?;
        for page in &mut self.pages {
            let mut batch = Batch::default();
            for name in page.iter() {
                if let Value::BulkString(name) = name {
                    batch.push(&[b"EXISTS".as_slice(), name]);
                }
            }
            let mut answers = client.pipeline(act, &batch)?.into_iter();
            page.retain(|_| matches!(answers.next(), Some(Ok(Value::Int(0)))));
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.pages.iter().map(Vec::len).sum()
    }

    /// Takes one after another.
    pub(super) fn each(
        &self,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        for name in self.pages.iter().flatten() {
            if let Value::BulkString(name) = name {
                visit(name)?;
            }
        }
        Ok(())
    }
}
