//! What is done where the memory of a server is full: it queues no command then, not even one that frees some, so that there
//! is no transaction.

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Client;
use super::marker::Stage;
use super::plan::State;
use super::transaction::{Found, Transaction};

/// Whether a server refused for want of memory.
pub(super) fn is_full(error: &SourceError) -> bool {
    error.kind() == SourceErrorKind::NoSpace
}

/// Does something in each database that bears the mark of a restore, one by one. Whoever else works where our mark is does so
/// for the same restore.
pub(super) fn each(
    client: &mut Client,
    state: &State,
    act: &str,
    run: &mut dyn FnMut(&mut Client, u32, Stage) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let control = state.control();
    let mut own: Vec<u32> = state.own_databases().into_iter().collect();
    // The one that decides goes last: whoever is killed here leaves what can be begun again.
    own.sort_by_key(|db| *db == control);
    for db in own {
        let (found, transaction) = Transaction::watch(client, act, state.id, [db])?;
        transaction.leave()?;
        if let Some(Found::Ours(stage)) = found.get(&db) {
            client.select(db)?;
            run(client, db, *stage)?;
        }
    }
    Ok(())
}
