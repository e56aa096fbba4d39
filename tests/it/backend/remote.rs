//! What is particular to a remote store: what is sent how often, and what its failures are called.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keepstone_engine::backend::credentials::RemoteLimits;
use keepstone_engine::backend::{
    Backend, BackendErrorKind, ByteRange, Credentials, ObjectKey, ObjectKind, PackClass,
    RepositoryAddress, open_backend,
};
use keepstone_testkit::servers::minio::Minio;

use super::{kind_of, pack, session_id};

const SECRET: &str = "hunter2-hunter2";

fn credentials_of(key: &str) -> Credentials {
    let key = key.to_owned();
    Credentials::from_lookup(&move |name| match name {
        "AWS_ACCESS_KEY_ID" => Some("somebody".into()),
        "AWS_SECRET_ACCESS_KEY" => Some(key.clone()),
        _ => None,
    })
}

fn limits(retry_count_max: usize) -> RemoteLimits {
    RemoteLimits {
        retry_count_max,
        ..RemoteLimits::default()
    }
}

/// Answers a request, named by its method, or hangs up on `None`.
type Answers = Box<dyn FnMut(&str) -> Option<&'static str> + Send>;

/// A store that follows a script and counts.
struct Script {
    address: RepositoryAddress,
    methods: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("s3:http://{}/bucket/prefix", listener.local_addr().unwrap());
        let methods = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers));
        let seen = Arc::clone(&methods);
        // Ends with the test process: it owns nothing but its socket.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                thread::spawn(move || serve(&stream.unwrap(), &answers, &seen));
            }
        });
        Self {
            address: address.parse().unwrap(),
            methods,
        }
    }

    fn backend(&self, retry_count_max: usize) -> Arc<dyn Backend> {
        let credentials = credentials_of(SECRET).limited(limits(retry_count_max));
        open_backend(&self.address, &credentials).unwrap()
    }

    fn methods(&self) -> Vec<String> {
        self.methods.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, answers: &Mutex<Answers>, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let method = line.split(' ').next().unwrap().to_owned();
        let mut length = 0;
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        seen.lock().unwrap().push(method.clone());
        let Some(answer) = (answers.lock().unwrap())(&method) else {
            return;
        };
        let (mut stream, mut answer) = (stream, answer.to_owned());
        answer.push_str("\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
const SLOW_DOWN: &str = "HTTP/1.1 503 Slow Down\r\nContent-Length: 47\r\n\r\n<Error><Code>SlowDown</Code><Message/></Error>";

#[test]
fn a_write_without_an_answer_is_sent_once() {
    let store = Script::start(Box::new(|_| None));
    let error = store
        .backend(3)
        .put_new(&pack(PackClass::Data), &[b"body"])
        .unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Unreachable, "{error:?}");
    assert_eq!(store.methods(), ["PUT"]);
}

#[test]
fn a_write_without_an_answer_is_sent_once_on_a_connection_that_was_used() {
    let mut first = true;
    let store = Script::start(Box::new(move |_| {
        std::mem::take(&mut first).then_some(DONE)
    }));
    let backend = store.backend(3);
    backend.put_new(&pack(PackClass::Data), &[b"body"]).unwrap();
    let error = backend
        .put_new(&pack(PackClass::Data), &[b"body"])
        .unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Unreachable, "{error:?}");
    assert_eq!(store.methods(), ["PUT", "PUT"]);
}

#[test]
fn a_write_that_the_store_refused_for_the_moment_is_sent_again() {
    let mut refusals = 2;
    let store = Script::start(Box::new(move |_| {
        refusals -= 1;
        Some(if refusals >= 0 { SLOW_DOWN } else { DONE })
    }));
    store
        .backend(3)
        .put_new(&pack(PackClass::Data), &[b"body"])
        .unwrap();
    assert_eq!(store.methods(), ["PUT", "PUT", "PUT"]);

    let store = Script::start(Box::new(|_| Some(SLOW_DOWN)));
    let error = store
        .backend(1)
        .put_new(&pack(PackClass::Data), &[b"body"])
        .unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Throttled, "{error:?}");
    assert_eq!(store.methods(), ["PUT", "PUT"]);
}

#[test]
fn a_read_is_tried_again() {
    let mut failures = 2;
    let store = Script::start(Box::new(move |_| {
        failures -= 1;
        (failures < 0).then_some("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo")
    }));
    let backend = store.backend(3);
    assert_eq!(
        backend
            .get(&ObjectKey::config(false), ByteRange::All)
            .unwrap(),
        b"bo\r\n"
    );
    assert_eq!(store.methods(), ["GET", "GET", "GET"]);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere =
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n";
    let store = Script::start(Box::new(move |_| Some(elsewhere)));
    let error = store
        .backend(0)
        .put_new(&pack(PackClass::Data), &[b"body"])
        .unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Other, "{error:?}");
    assert_eq!(store.methods(), ["PUT"]);
}

#[test]
fn no_server_is_unreachable() {
    // A port that was free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("s3:http://127.0.0.1:{port}/bucket")
        .parse()
        .unwrap();
    let backend = open_backend(&address, &credentials_of(SECRET).limited(limits(1))).unwrap();
    let config = ObjectKey::config(false);
    for error in [
        backend.put_new(&config, &[b"body"]).unwrap_err(),
        backend.get(&config, ByteRange::All).unwrap_err(),
        backend.list(ObjectKind::Pack).unwrap_err(),
        backend.stat(&config).unwrap_err(),
        backend.delete(&config).unwrap_err(),
    ] {
        assert_eq!(error.kind(), BackendErrorKind::Unreachable, "{error:?}");
        assert!(format!("{error:?}").contains("refused"), "{error:?}");
        assert!(!format!("{error:?} {backend:?}").contains(SECRET));
    }
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
    let minio = Minio::start();
    let limits = RemoteLimits {
        answer_time_max: Duration::from_secs(2),
        ..limits(0)
    };
    let backend = open_backend(&minio.address("p"), &minio.credentials().limited(limits)).unwrap();
    let key = ObjectKey::end(session_id());
    backend.put_new(&key, &[b"body"]).unwrap();
    minio.pause();
    let read = backend.get(&key, ByteRange::All).unwrap_err();
    let written = backend
        .put_new(&ObjectKey::end(session_id()), &[b"body"])
        .unwrap_err();
    minio.resume();
    assert_eq!(read.kind(), BackendErrorKind::Unreachable, "{read:?}");
    assert_eq!(written.kind(), BackendErrorKind::Unreachable, "{written:?}");
    assert_eq!(backend.get(&key, ByteRange::All).unwrap(), b"body");
}

#[test]
fn minio_refusals_have_their_kinds_and_tell_no_secret() {
    let minio = Minio::start();
    let open = |address: &RepositoryAddress, credentials: Credentials| {
        open_backend(address, &credentials.limited(limits(0))).unwrap()
    };
    let key = ObjectKey::end(session_id());
    let wrong = open(&minio.address("p"), credentials_of(SECRET));
    for error in [
        wrong.put_new(&key, &[b"body"]).unwrap_err(),
        wrong.get(&key, ByteRange::All).unwrap_err(),
        wrong.list(ObjectKind::End).unwrap_err(),
    ] {
        assert_eq!(error.kind(), BackendErrorKind::Denied, "{error:?}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
    let anonymous = format!("{}?anonymous=true", minio.url("p"))
        .parse()
        .unwrap();
    let nobody = open(&anonymous, Credentials::default());
    assert_eq!(
        kind_of(nobody.list(ObjectKind::End)),
        BackendErrorKind::Denied
    );

    let without_key = open(&minio.address("p"), Credentials::default());
    assert_eq!(
        kind_of(without_key.list(ObjectKind::End)),
        BackendErrorKind::Denied
    );

    let elsewhere = format!("s3:{}/no-such-bucket/p", minio.endpoint())
        .parse()
        .unwrap();
    let missing = open(&elsewhere, minio.credentials());
    assert_eq!(
        kind_of(missing.list(ObjectKind::End)),
        BackendErrorKind::NotFound
    );
    assert_eq!(
        kind_of(missing.put_new(&key, &[b"body"])),
        BackendErrorKind::NotFound
    );
}

#[test]
fn minio_keeps_the_time_of_each_object() {
    let minio = Minio::start();
    let backend = open_backend(&minio.address("p"), &minio.credentials()).unwrap();
    let key = ObjectKey::end(session_id());
    backend.put_new(&key, &[b"body"]).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    for stat in [
        backend.stat(&key).unwrap().unwrap(),
        backend.list(ObjectKind::End).unwrap()[0].clone(),
    ] {
        let stored_at = u128::try_from(stat.stored_at_ns.unwrap()).unwrap();
        let hour = 3_600_000_000_000;
        assert!(
            (now - hour..now + hour).contains(&stored_at),
            "{stored_at} is not about {now}"
        );
    }
}

/// A source may write from inside a runtime of its own.
#[test]
fn a_remote_store_is_used_from_any_thread() {
    let backend = keepstone_engine::backend::opendal::OpendalBackend::memory().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let key = ObjectKey::end(session_id());
    runtime.block_on(async {
        backend.put_new(&key, &[b"body"]).unwrap();
        assert_eq!(backend.get(&key, ByteRange::All).unwrap(), b"body");
    });
}
