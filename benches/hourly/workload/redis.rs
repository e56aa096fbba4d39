//! Sessions and profiles in Redis: text values, hashes and lists, some with an expiry far ahead.

use std::path::Path;
use std::process::Command;

use keepstone_benches::error::Result;
use keepstone_benches::rng::Rng;

use super::{Churn, StackOptions, moment};
use crate::servers::{self, run};

const PIPELINE: usize = 2000;
/// 2100-01-01 in milliseconds: nothing expires while a bench runs.
const EXPIRY_MS: i64 = 4_102_444_800_000;

/// The keys of database 0.
#[derive(Debug)]
pub struct Keys {
    /// The server that holds them.
    pub server: servers::Redis,
    churn: Churn,
}

impl Keys {
    /// No keys yet.
    pub fn new(server: servers::Redis, options: &StackOptions) -> Self {
        Self {
            server,
            churn: options.churn("redis", 64_000),
        }
    }

    /// Moves the keys on to an hour.
    pub fn advance(&mut self, hour: u32) -> Result<()> {
        let changes = self.churn.hour(hour);
        let mut connection = self.server.connect()?;
        let written: Vec<i64> = changes
            .updated
            .into_iter()
            .chain(changes.inserted)
            .collect();
        for ids in written.chunks(PIPELINE) {
            let mut pipe = redis::pipe();
            for id in ids {
                write(&mut pipe, &mut self.churn.rng, *id, hour);
            }
            pipe.query::<()>(&mut connection)?;
        }
        for ids in changes.deleted.chunks(PIPELINE) {
            let mut pipe = redis::pipe();
            for id in ids {
                pipe.cmd("DEL").arg(key(*id)).ignore();
            }
            pipe.query::<()>(&mut connection)?;
        }
        Ok(())
    }

    /// Asks the server for its file, as `redis-cli` does.
    pub fn dump(&self, out: &Path) -> Result<()> {
        let port = self.server.port.to_string();
        run(Command::new("redis-cli")
            .args(["-p", &port, "--rdb"])
            .arg(out))?;
        Ok(())
    }
}

fn key(id: i64) -> String {
    match id % 20 {
        0 | 1 => format!("profile:{id}"),
        2 => format!("recent:{id}"),
        _ => format!("session:{id}"),
    }
}

fn write(pipe: &mut redis::Pipeline, rng: &mut Rng, id: i64, hour: u32) {
    let key = key(id);
    let when = moment(rng, hour);
    match id % 20 {
        0 | 1 => {
            pipe.cmd("HSET").arg(&key);
            pipe.arg("name").arg(format!("u{id}"));
            pipe.arg("bio")
                .arg(rng.text(9))
                .arg("likes")
                .arg(rng.text(8));
            pipe.arg("score")
                .arg(rng.unit().to_string())
                .arg("seen")
                .arg(when);
            pipe.ignore();
        }
        2 => {
            pipe.cmd("DEL").arg(&key).ignore();
            pipe.cmd("RPUSH").arg(&key);
            for _ in 0..12 {
                pipe.arg(rng.text(4));
            }
            pipe.ignore();
        }
        _ => {
            let value = format!(
                "{{\"user\": \"u{}\", \"text\": \"{}\", \"ts\": {}, \"weight\": {}}}",
                id % 997,
                rng.text(40),
                when,
                rng.unit()
            );
            pipe.cmd("SET").arg(&key).arg(value).ignore();
            if id % 4 == 0 {
                pipe.cmd("PEXPIREAT")
                    .arg(&key)
                    .arg(EXPIRY_MS + id * 1000)
                    .ignore();
            }
        }
    }
}
