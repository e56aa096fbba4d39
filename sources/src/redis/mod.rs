//! Redis and Valkey: what is captured, what that needs, and how it comes back.
//!
//! # What is captured
//!
//! Over the network only, without touching a file of the server:
//!
//! - `db/<n>`: every key of a database with its value and its absolute expiry, as canonical records (`format`) in the
//!   order of the keys. Strings, lists, sets, sorted sets, hashes (also with fields that expire) and streams with
//!   groups, consumers and pending entries, of Redis 3.2 to 8.0 and Valkey up to 8. Equal data gives equal bytes,
//!   whatever the server's hash seed, encodings, compression or idle times. A database without keys has no stream; a
//!   server without keys, or an empty database that was asked for, has an empty one.
//! - `functions`: the libraries of functions, as code (from 7.0 on).
//! - `acl`: the rules of `ACL LIST`, with hashes of passwords. They are recorded and never restored.
//!
//! Not captured: values of modules (the capture fails and names the key and the module), what modules keep beside the
//! keys (a warning), `CONFIG`, and databases in which a restore of ours has staged or kept something (a warning). A
//! key that has expired and is still in memory is not there, nor is one whose collection has no element (a warning). A value is held in memory whole, twice; the largest is
//! 2 GiB. Keys are sorted in 32 MiB of memory, what is beyond in an unnamed file whose bytes are sealed under a key
//! that only this process has.
//!
//! # Consistency
//!
//! One instant of the whole server: it forks for us as it does for a new replica, and sends what it held then. The
//! end is proved (mark or length, end of the dump, checksum), so a connection that breaks is never a good capture.
//! Where the server does not let the user replicate, keys are read one after another by `SCAN` and `DUMP`: each key
//! is whole, all together show no single instant, and the report says so. A server before 7.0 then says only how soon
//! a key expires: it is asked until its clock stood still meanwhile.
//!
//! The fork costs the server what `BGSAVE` costs, and one that has no replicas keeps a replication backlog for an hour
//! afterwards. A server watched by Sentinel may take us for a replica while the
//! capture lasts: capture one of its replicas instead. In cluster mode each node is captured by itself.
//!
//! # Privileges
//!
//! `+sync` (or `+psync`) `+replconf +info +time +select +acl|list`; without replication `+info +time +select +scan
//! +dump +pexpiretime +multi +exec +get +function|list ~*`, and better `+memory|usage`. A restore needs `+@read +@write +@connection +@transaction
//! +restore +swapdb +flushdb +info +time +config|get`, and `+function|dump +function|restore` for functions.
//! Passwords come by their own setting and are never part of an address, an argument or a message. Every wait is
//! bounded by `connect_timeout` and `answer_timeout`.
//!
//! # Restore
//!
//! Into a live server that goes on serving, in one of two ways:
//!
//! - **Whole databases** are staged into empty databases (the highest, or those that are named), read back and
//!   compared by count and digest, and then change places with the live ones in one transaction of `SWAPDB`. What was
//!   live is kept in the spare database until it is discarded, and rollback swaps back. Where there was nothing to keep,
//!   not even written while the restore worked, it leaves no mark. Databases that the capture does not hold stay as
//!   they are.
//! - **Single keys**, chosen by a pattern, put under another prefix, or all that a pattern let into the capture where the
//!   database holds others, are staged and compared likewise; one
//!   transaction then moves live keys of the same names into a second spare database and the staged ones into their
//!   place. Keys that match and are not in the capture stay. Rollback removes what was restored and moves the old keys
//!   back. At most 500 000 keys: the server stands still for about a microsecond each.
//!
//! The plan refuses in cluster mode, on a replica, where `maxmemory` (or the machine) would not hold both, so that no
//! live key is evicted, onto spare databases that are not empty, and while an earlier restore of the same database is
//! neither rolled back nor discarded. Staging and validation watch the memory and stop in time.
//!
//! Markers in the spare databases change in the same transactions as the data, so after a kill at any step live data
//! is all old or all new, and any process that has the plan can finish or undo. The mark of an undone restore stays
//! for a week in a database that counts as empty. Functions are replaced as a whole, only when asked for, in the same
//! transaction, and come back with a rollback.
//!
//! Expiries are kept, shifted by the age of the capture, or dropped; keys that expired since leave the expected sum
//! and are counted. What a target of another version cannot know of a stream (entries ever added, activity of
//! consumers) is left out of the comparison. Commands that are written to a live database between staging and switch
//! are in what is kept, not in what is restored.
//!
//! # Export
//!
//! `db<n>.resp` and `functions.resp` for `redis-cli --pipe`.

mod capture;
mod client;
mod collect;
mod commands;
mod discard;
mod export;
pub mod format;
pub mod glob;
mod marker;
mod names;
mod plan;
pub mod rdb;
mod rebuild;
pub mod record;
mod replica;
mod resp;
mod scan;
mod server;
mod settings;
mod sort;
mod spool;
mod stage;
mod switch;
mod transaction;
mod validate;
mod without_room;

pub use capture::RedisSource;
pub use export::RedisExport;
pub use plan::{PrefixChange, RedisRestoreOptions, Ttl};
pub use rebuild::RedisTarget;
pub use settings::{CaptureMethod, RedisSettings};
