//! Servers before 7.0, which say only how soon a key expires: one of today is made to look like one.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use keepstone_engine::source::Target as _;
use keepstone_sources::redis::{CaptureMethod, RedisRestoreOptions, RedisSettings, RedisTarget};
use keepstone_testkit::servers::redis::RedisServer;
use redis::cmd;

use super::capture::capture;
use super::data::FAR_MS;

/// Settings of a line to a server on which its version begins with 6.
fn like_six(server: &RedisServer) -> RedisSettings {
    const NAME: &[u8] = b"redis_version:";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = server.settings();
    let port = std::mem::replace(&mut settings.port, listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut asked, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            for end in [&client, &server] {
                end.set_nodelay(true).unwrap();
            }
            thread::spawn(move || {
                let _passed = std::io::copy(&mut asked, &mut to);
                let _closed = to.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(length @ 1..) = server.read(&mut buffer) {
                    let answer = &mut buffer[..length];
                    let found = answer.windows(NAME.len()).position(|part| part == NAME);
                    if let Some(digit) = found.and_then(|at| answer.get_mut(at + NAME.len())) {
                        *digit = b'6';
                    }
                    if client.write_all(answer).is_err() {
                        break;
                    }
                }
                let _closed = client.shutdown(Shutdown::Both);
            });
        }
    });
    settings
}

#[test]
fn keys_that_expire_are_captured_and_restored_to_the_millisecond_without_being_told() {
    let server = RedisServer::start();
    let mut pipe = redis::pipe();
    for n in 0..3_000_u64 {
        pipe.cmd("SET").arg(format!("key:{n}")).arg("v".repeat(500));
        pipe.arg("PXAT").arg(FAR_MS + n).ignore();
    }
    for n in 0..300_u64 {
        pipe.set(format!("stays:{n}"), n).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    let captured = capture(server.settings()).unwrap();
    let mut by_scan = like_six(&server);
    by_scan.method = CaptureMethod::Scan;
    assert!(
        capture(by_scan).unwrap().content("db/0") == captured.content("db/0"),
        "expiries differ"
    );

    let target = RedisTarget::new(like_six(&server), RedisRestoreOptions::default());
    let plan = target.plan(&captured).unwrap();
    assert_eq!(
        plan.state["detail"], "basic",
        "it is not taken for an older one"
    );
    target.stage(&plan, &captured).unwrap();
    assert_eq!(
        target.validate(&plan, &captured).unwrap().differences,
        [""; 0]
    );
    // A millisecond is a difference all the same.
    cmd("PEXPIREAT")
        .arg("key:1234")
        .arg(FAR_MS + 1_235)
        .exec(&mut server.connection_to(15))
        .unwrap();
    let validation = target.validate(&plan, &captured).unwrap();
    assert_eq!(validation.differences.len(), 1, "{validation:?}");
}
