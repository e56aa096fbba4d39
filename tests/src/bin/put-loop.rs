//! Writes objects into a folder for ever, for tests that kill it: `put-loop FOLDER`.
//!
//! Each object is of one byte, repeated, whose value and length follow from its name, so that a reader can tell whether
//! it is whole. A line on standard output says that a write was answered.

use std::io::Write as _;

use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::{Backend as _, ObjectKey};
use keepstone_engine::id::ObjectId;

fn main() {
    let folder = std::env::args_os().nth(1).expect("usage: put-loop FOLDER");
    let backend = LocalBackend::open(folder).expect("the folder opens");
    let mut output = std::io::stdout();
    loop {
        let mut name = [0; 16];
        getrandom::fill(&mut name).expect("randomness");
        let body = vec![name[0]; usize::from(name[1]) << 12];
        let key = ObjectKey::index(ObjectId::from_bytes(name));
        let (head, tail) = body.split_at(body.len() / 2);
        backend.put_new(&key, &[head, tail]).expect("a write");
        writeln!(output, "{key}").expect("a line");
    }
}
