//! What `make demo` saves: a folder of notes and a SQLite database with an invariant that every consistent copy shows.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use keepstone_benches::rng::Rng;

const NOTES: u64 = 200;
const ACCOUNTS: i64 = 20_000;
const TOTAL: i64 = ACCOUNTS * 100;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", notes, database] => make(Path::new(notes), Path::new(database)),
        ["write", database] => write(Path::new(database)),
        ["change", notes, database, hour] => {
            change(Path::new(notes), Path::new(database), hour.parse()?)
        }
        ["prove", database, hour] => prove(Path::new(database), hour.parse()?),
        _ => Err("usage: demo make|write|change|prove …".into()),
    }
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    Ok(connection)
}

fn note(rng: &mut Rng) -> String {
    (0..400)
        .map(|_| format!("w{:04} ", rng.below(10_000)))
        .collect()
}

fn make(notes: &Path, database: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(notes)?;
    let mut rng = Rng::new(1, "notes");
    for number in 0..NOTES {
        fs::write(notes.join(format!("note-{number:04}.txt")), note(&mut rng))?;
    }
    let connection = open(database)?;
    connection.execute_batch(
        "pragma journal_mode = wal;
         create table account (id integer primary key, amount integer not null, memo text);
         create table hour (number integer not null);
         insert into hour values (1);",
    )?;
    let transaction = connection.unchecked_transaction()?;
    {
        let mut insert = transaction.prepare("insert into account values (?1, 100, ?2)")?;
        for id in 0..ACCOUNTS {
            insert.execute((id, format!("memo {}", rng.below(1 << 40))))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Moves amounts between accounts until it is stopped: their sum never changes.
fn write(database: &Path) -> Result<(), Box<dyn Error>> {
    let connection = open(database)?;
    let mut rng = Rng::new(u64::from(std::process::id()), "writer");
    loop {
        let transaction = connection.unchecked_transaction()?;
        for (sign, seed) in [
            (-1, rng.below(ACCOUNTS as u64)),
            (1, rng.below(ACCOUNTS as u64)),
        ] {
            transaction.execute(
                "update account set amount = amount + ?1 where id = ?2",
                (sign, seed as i64),
            )?;
        }
        transaction.commit()?;
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn change(notes: &Path, database: &Path, hour: i64) -> Result<(), Box<dyn Error>> {
    let mut rng = Rng::new(hour.unsigned_abs(), "change");
    for _ in 0..4 {
        let name = format!("note-{:04}.txt", rng.below(NOTES));
        fs::write(notes.join(name), note(&mut rng))?;
    }
    let connection = open(database)?;
    connection.execute("update hour set number = ?1", [hour])?;
    let memo = format!("changed in hour {hour}");
    connection.execute(
        "update account set memo = ?1 where id % 50 = ?2",
        (memo, hour),
    )?;
    Ok(())
}

/// A consistent copy of that hour has the whole sum and the mark of the hour.
fn prove(database: &Path, hour: i64) -> Result<(), Box<dyn Error>> {
    let connection = open(database)?;
    let integrity: String = connection.query_row("pragma integrity_check", [], |row| row.get(0))?;
    let total: i64 =
        connection.query_row("select sum(amount) from account", [], |row| row.get(0))?;
    let number: i64 = connection.query_row("select number from hour", [], |row| row.get(0))?;
    if (integrity.as_str(), total, number) != ("ok", TOTAL, hour) {
        return Err(format!("integrity {integrity}, total {total}, hour {number}").into());
    }
    println!("the database is whole, of hour {number}, and its sum is {total} as in every moment");
    Ok(())
}
