//! The stack: five stores with seeded content, moved on by an hour at a time.
//!
//! An hour updates 2 % of the records of a store, scattered evenly, inserts 1 % and deletes 0.5 %. At two hours the
//! servers do what servers do now and then: Redis restarts, PostgreSQL is vacuumed.

mod app_log;
mod points;
mod postgres;
mod redis;
mod sqlite;

use std::fs;
use std::path::{Path, PathBuf};

use keepstone_benches::args::Args;
use keepstone_benches::churn::{Changes, Churn, Rates};
use keepstone_benches::disk::copy;
use keepstone_benches::error::{Act as _, Result};
use keepstone_benches::rng::Rng;

use crate::servers;

use self::app_log::AppLog;
use self::points::Points;
use self::postgres::Tables;
use self::redis::Keys;
use self::sqlite::Notes;

const RESTART_HOUR: u32 = 4;
const VACUUM_HOUR: u32 = 6;
const VACUUM_FULL_HOUR: u32 = 9;

/// What a stack is made of.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// Seed of everything.
    pub seed: u64,
    /// 1.0 is about 92 MB of dumps in the first hour.
    pub scale: f64,
}

impl StackOptions {
    /// Reads `--seed` and `--scale`.
    pub fn from_args(args: &mut Args) -> Result<Self> {
        Ok(Self {
            seed: args.get("seed", 1)?,
            scale: args.get("scale", 1.0)?,
        })
    }

    fn rng(&self, name: &str) -> Rng {
        Rng::new(self.seed, name)
    }

    fn churn(&self, name: &str, records: u32) -> Churn {
        let records = (f64::from(records) * self.scale).round() as usize;
        Churn::new(self.rng(name), Rates::HOURLY, records)
    }
}

/// The five stores and their servers.
#[derive(Debug)]
pub struct Stack {
    tables: Tables,
    keys: Keys,
    points: Points,
    notes: Notes,
    log: AppLog,
    folder: tempfile::TempDir,
}

impl Stack {
    /// Starts the servers, all empty; `advance(0)` fills them.
    pub fn start(options: &StackOptions) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("keepstone-hourly-")
            .tempdir()
            .act("make a folder for the servers")?;
        // PostgreSQL runs as a user of its own, who must be able to pass.
        fs::set_permissions(
            folder.path(),
            <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755),
        )?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("files")).act("make the folder of the files")?;
        Ok(Self {
            tables: Tables::new(servers::Postgres::start(&at("postgres"))?, options)?,
            keys: Keys::new(servers::Redis::start(&at("redis"))?, options),
            points: Points::new(options),
            notes: Notes::new(&at("files/app.db"), options)?,
            log: AppLog::new(&at("files/app.log"), options),
            folder,
        })
    }

    /// Moves every store on to this hour; tells what else happened in it.
    pub fn advance(&mut self, hour: u32) -> Result<&'static str> {
        self.tables.advance(hour).act("move PostgreSQL on")?;
        self.keys.advance(hour).act("move Redis on")?;
        self.points.advance(hour);
        self.notes.advance(hour).act("move SQLite on")?;
        self.log.advance(hour).act("grow the log")?;
        Ok(match hour {
            RESTART_HOUR => {
                self.keys.server.restart()?;
                "Redis restarted"
            }
            VACUUM_HOUR => {
                self.tables.vacuum("VACUUM")?;
                "VACUUM"
            }
            VACUUM_FULL_HOUR => {
                self.tables.vacuum("VACUUM FULL")?;
                "VACUUM FULL"
            }
            _ => "nothing else",
        })
    }

    /// Writes the five dump files into a folder.
    pub fn dump(&self, out: &Path) -> Result<()> {
        self.tables.dump(&out.join("pg.sql"))?;
        self.keys.dump(&out.join("redis.rdb"))?;
        fs::write(out.join("points.bin"), self.points_bytes()).act("write points.bin")?;
        for name in ["app.db", "app.log"] {
            copy(&self.files().join(name), &out.join(name))?;
        }
        Ok(())
    }

    /// The vector file as it would be written now.
    pub fn points_bytes(&self) -> Vec<u8> {
        self.points.bytes()
    }

    /// Addresses of the three databases, for Keepstone.
    pub fn addresses(&self) -> [String; 3] {
        [
            format!(
                "postgres://postgres@127.0.0.1:{}/app",
                self.tables.server.port
            ),
            format!("redis://127.0.0.1:{}/", self.keys.server.port),
            format!("sqlite:{}", self.files().join("app.db").display()),
        ]
    }

    /// The commands that dump the servers to their standard output, each with a name.
    pub fn dump_commands(&self) -> [(&'static str, Vec<String>); 2] {
        let words = |text: String| text.split(' ').map(str::to_owned).collect();
        let pg = format!(
            "pg_dump -h 127.0.0.1 -p {} -U postgres app",
            self.tables.server.port
        );
        let redis = format!("redis-cli -p {} --rdb -", self.keys.server.port);
        [("pg.sql", words(pg)), ("redis.rdb", words(redis))]
    }

    /// The folder in which `app.db` and `app.log` live.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Stops the servers and removes what they kept.
    pub fn stop(self) -> Result<()> {
        let Self {
            tables,
            keys,
            folder,
            ..
        } = self;
        drop((tables, keys));
        folder.close().act("remove the folder of the servers")
    }
}

/// Seconds since 1970 of a moment in an hour of the workload, which begins with 2026.
fn moment(rng: &mut Rng, hour: u32) -> i64 {
    1_767_225_600 + i64::from(hour) * 3600 + rng.below(3600) as i64
}
