//! Rows as canonical records: the lines of COPY's text form, counted, summed and keyed.
//!
//! A record is one line with its line feed. COPY writes a line feed inside a value as `\n`, so a raw one always
//! ends a row. Workers read tables ahead of the stream that is emitted, into bounded buffers.

use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, bounded};
use keepstone_engine::source::{Digest, RecordDigest, SourceError, SourceErrorKind};

use super::catalog::{self, Listed, Table};
use super::client::Session;
use super::error::PgError;
use super::settings::PostgresSettings;
use super::wire::Stop;

/// Bytes of rows that travel together.
const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks of one table that may wait.
const BLOCKS_AHEAD: usize = 8;
/// Tables that may wait beside the one that is emitted.
const TABLES_AHEAD: usize = 8;

/// Takes a row: its key, which may be empty, and its line.
pub(crate) type TakeRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), SourceError> + 'a;

/// Some whole rows.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    rows: Vec<(usize, [u8; 8])>,
    keyed: bool,
}

impl Block {
    /// Hands over each row with its key; the key is empty where the table has none.
    pub(crate) fn each(&self, take: &mut TakeRow<'_>) -> Result<(), SourceError> {
        let mut start = 0;
        for (end, key) in &self.rows {
            let key = if self.keyed { key.as_slice() } else { &[] };
            take(key, self.bytes.get(start..*end).unwrap_or_default())?;
            start = *end;
        }
        Ok(())
    }
}

/// What all rows of one table come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowSum {
    /// Rows.
    pub(crate) rows: u64,
    /// Bytes of the canonical form.
    pub(crate) bytes: u64,
    /// Digest over the canonical records.
    pub(crate) digest: Digest,
}

impl RowSum {
    /// The sum over no rows.
    fn none() -> Self {
        Self {
            rows: 0,
            bytes: 0,
            digest: RecordDigest::new().finish(),
        }
    }
}

/// Cuts a COPY into rows.
struct Rows {
    key_position: Option<usize>,
    block: Block,
    open: usize,
    digest: RecordDigest,
    bytes: u64,
}

impl Rows {
    fn new(key_position: Option<usize>) -> Self {
        let block = Block {
            keyed: key_position.is_some(),
            ..Block::default()
        };
        Self {
            key_position,
            block,
            open: 0,
            digest: RecordDigest::new(),
            bytes: 0,
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), PgError> {
        let from = self.block.bytes.len();
        self.block.bytes.extend_from_slice(piece);
        for newline in memchr::memchr_iter(b'\n', piece) {
            let end = from + newline + 1;
            let row = self.block.bytes.get(self.open..end).unwrap_or_default();
            self.digest.add(row);
            self.bytes += row.len() as u64;
            let key = match self.key_position {
                Some(position) => key_of(row, position)?,
                None => [0; 8],
            };
            self.block.rows.push((end, key));
            self.open = end;
        }
        Ok(())
    }

    /// The whole rows so far, if they are enough to travel.
    fn full(&mut self) -> Option<Block> {
        (self.open >= BLOCK_BYTES).then(|| self.take())
    }

    fn take(&mut self) -> Block {
        let rest = self.block.bytes.split_off(self.open);
        self.open = 0;
        let next = Block {
            bytes: rest,
            rows: Vec::new(),
            keyed: self.block.keyed,
        };
        std::mem::replace(&mut self.block, next)
    }
}

/// The key of a row: eight bytes that sort like the number.
fn key_of(row: &[u8], position: usize) -> Result<[u8; 8], PgError> {
    let field = row
        .split(|byte| matches!(byte, b'\t' | b'\n'))
        .nth(position)
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|field| field.parse::<i64>().ok())
        .ok_or_else(|| PgError::Protocol("a row without its key".into()))?;
    Ok(ordered(field))
}

/// Bytes that sort like the number.
#[expect(
    clippy::big_endian_bytes,
    reason = "bytes that sort like the number are the point"
)]
pub(crate) fn ordered(number: i64) -> [u8; 8] {
    (number.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// Reads one table to its proved end.
pub(crate) fn read_table(
    session: &mut Session,
    table: &Table,
    take: &mut dyn FnMut(Block) -> Result<(), PgError>,
) -> Result<RowSum, PgError> {
    if table.rowless {
        return Ok(RowSum::none());
    }
    let listed = table.oid.map(|oid| Listed {
        kind: "table",
        oid,
        schema: &table.schema,
        name: &table.name,
    });
    let check = |session: &mut Session| catalog::check_names(session, listed.as_slice());
    // Before, so that no query is planned for another table; after, because the name is looked up once more between.
    check(session)?;
    let sum = read_named(session, table, take).map_err(|error| match &listed {
        Some(listed) => listed.or_replaced(error),
        None => error,
    })?;
    check(session)?;
    Ok(sum)
}

/// Reads what bears the table's name.
fn read_named(
    session: &mut Session,
    table: &Table,
    take: &mut dyn FnMut(Block) -> Result<(), PgError>,
) -> Result<RowSum, PgError> {
    let mut rows = Rows::new(table.key_position());
    let told = session.copy_out(&table.copy_out(), &mut |piece| {
        rows.feed(piece)?;
        rows.full().map_or(Ok(()), &mut *take)
    })?;
    let rest = rows.take();
    if !rows.block.bytes.is_empty() {
        return Err(PgError::Protocol("a COPY that ends inside a row".into()));
    }
    if told != rows.digest.count() {
        let counted = rows.digest.count();
        let problem = format!("the server says it sent {told} rows, {counted} arrived");
        let error = SourceError::new(
            SourceErrorKind::Interrupted,
            format!("cannot read the whole of table {}", table.shown()),
        );
        return Err(error.because(problem).into());
    }
    if !rest.rows.is_empty() {
        take(rest)?;
    }
    Ok(RowSum {
        rows: told,
        bytes: rows.bytes,
        digest: rows.digest.finish(),
    })
}

/// What a worker has to say about one table.
pub(crate) enum Piece {
    /// Some rows.
    Block(Block),
    /// All rows were handed over.
    End(RowSum),
    /// Somebody waits for the table's lock behind us: only the session that holds it can read it.
    Busy,
    /// The table cannot be read.
    Failed(SourceError),
}

/// Tables that are read ahead, in the order in which they will be asked for.
pub(crate) struct ReadAhead {
    jobs: Option<Sender<usize>>,
    streams: std::collections::VecDeque<Receiver<Piece>>,
    next_job: usize,
    tables: usize,
}

/// Who reads, what, and as of when.
#[derive(Clone, Copy)]
pub(crate) struct ReadPlan<'a> {
    /// Server.
    pub(crate) settings: &'a PostgresSettings,
    /// Database.
    pub(crate) database: &'a str,
    /// Exported snapshot.
    pub(crate) snapshot: &'a str,
    /// Tables in the order of the streams.
    pub(crate) tables: &'a [Table],
}

impl ReadAhead {
    /// Starts the workers.
    pub(crate) fn start<'scope, 'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        plan: ReadPlan<'env>,
        stop: &Stop,
    ) -> Self {
        let (jobs, taken) = bounded(TABLES_AHEAD + 1);
        let (mut senders, mut streams) = (Vec::new(), std::collections::VecDeque::new());
        for _ in plan.tables {
            let (sender, receiver) = bounded(BLOCKS_AHEAD);
            senders.push(sender);
            streams.push_back(receiver);
        }
        let workers = plan.settings.connections.min(plan.tables.len());
        for _ in 0..workers {
            let (taken, senders, stop) = (taken.clone(), senders.clone(), stop.clone());
            scope.spawn(move || work(plan, &taken, &senders, stop));
        }
        let mut ahead = Self {
            jobs: Some(jobs),
            streams,
            next_job: 0,
            tables: plan.tables.len(),
        };
        for _ in 0..=TABLES_AHEAD {
            ahead.hand_out();
        }
        ahead
    }

    /// The rows of the next table.
    pub(crate) fn next(&mut self) -> Option<Receiver<Piece>> {
        self.streams.pop_front()
    }

    /// Lets the workers take one more table, because one was emitted.
    pub(crate) fn hand_out(&mut self) {
        if self.next_job >= self.tables {
            self.jobs = None;
        } else if let Some(jobs) = &self.jobs {
            // There is always room for the tables that may wait; workers that are gone have said why.
            let _ = jobs.try_send(self.next_job);
            self.next_job += 1;
        }
    }
}

fn work(plan: ReadPlan<'_>, jobs: &Receiver<usize>, senders: &[Sender<Piece>], stop: Stop) {
    let mut session = match join(plan, stop) {
        Ok(session) => session,
        Err(error) => {
            if let Some(sender) = jobs.recv().ok().and_then(|job| senders.get(job)) {
                // A receiver that is gone no longer wants to know.
                drop(sender.send(Piece::Failed(error)));
            }
            return;
        }
    };
    while let Ok(job) = jobs.recv() {
        let (Some(sender), Some(table)) = (senders.get(job), plan.tables.get(job)) else {
            return;
        };
        let last = read_into(&mut session, plan.database, table, sender);
        let failed = matches!(last, Piece::Failed(_));
        if sender.send(last).is_err() || failed {
            return;
        }
    }
}

/// A session that sees what the exporting one sees.
fn join(plan: ReadPlan<'_>, stop: Stop) -> Result<Session, SourceError> {
    let mut session = Session::connect(plan.settings, plan.database, stop)?;
    let begin = begin_at(plan.snapshot);
    session.execute(&begin).map_err(|error| {
        error.during(format!(
            "cannot join the snapshot of database {}",
            plan.database
        ))
    })?;
    Ok(session)
}

/// Statements that begin a read-only transaction at a snapshot.
pub(crate) fn begin_at(snapshot: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; {PLAIN_SCANS}",
        super::sql::literal(snapshot)
    )
}

/// Keeps the planner from sorting on the server's disk, from scanning in no order and from looking at constraints, and forbids users' relations that
/// are no tables: whoever puts a view in the place of a table or a sequence would have functions of theirs called with
/// our rights (CVE-2024-7348). Servers without that mend have no such setting.
pub(crate) const PLAIN_SCANS: &str = "SET LOCAL enable_sort = off; SET LOCAL constraint_exclusion = off; \
    SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; \
    SELECT pg_catalog.set_config(name, 'view, foreign-table', true) FROM pg_catalog.pg_settings \
        WHERE name = 'restrict_nonsystem_relation_kind'";

fn read_into(
    session: &mut Session,
    database: &str,
    table: &Table,
    sender: &Sender<Piece>,
) -> Piece {
    let lock = format!(
        "LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT",
        table.sql()
    );
    let failed = |error: PgError| Piece::Failed(error.during(act(database, table)));
    let locked = session
        .execute("SAVEPOINT s")
        .and_then(|()| session.execute(&lock));
    match locked {
        Ok(()) => {}
        // Nothing was read yet. A lock that is missed while rows are read comes too late for somebody else to begin anew.
        Err(error) if error.code() == "55P03" => {
            return match session.execute("ROLLBACK TO s; RELEASE s") {
                Ok(()) => Piece::Busy,
                Err(error) => failed(error),
            };
        }
        Err(error) => return failed(error),
    }
    let read = read_table(session, table, &mut |block| {
        sender
            .send(Piece::Block(block))
            .map_err(|_| PgError::Stopped)
    });
    // Savepoints that stay would pile up in the server, one inside the other.
    let read = read.and_then(|sum| session.execute("RELEASE s").map(|()| sum));
    match read {
        Ok(sum) => Piece::End(sum),
        Err(error) => failed(error),
    }
}

fn act(database: &str, table: &Table) -> String {
    format!("cannot read table {} of database {database}", table.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_wherever_the_pieces_end() {
        let data = b"1\ta\\nb\n-2\t\\N\n30\t\n";
        for size in 1..data.len() {
            let mut rows = Rows::new(Some(0));
            data.chunks(size)
                .for_each(|piece| rows.feed(piece).unwrap());
            let block = rows.take();
            let mut found = Vec::new();
            block
                .each(&mut |key, row| {
                    found.push((key.to_vec(), row.to_vec()));
                    Ok(())
                })
                .unwrap();
            assert_eq!(found.len(), 3);
            assert_eq!(found[1], (ordered(-2).to_vec(), b"-2\t\\N\n".to_vec()));
            assert_eq!(rows.digest.count(), 3);
            assert!(rows.block.bytes.is_empty());
        }
    }

    #[test]
    fn keys_sort_like_numbers() {
        let numbers = [i64::MIN, -300, -1, 0, 1, 256, i64::MAX];
        let keys: Vec<_> = numbers.iter().map(|number| ordered(*number)).collect();
        assert!(keys.is_sorted());
    }
}
