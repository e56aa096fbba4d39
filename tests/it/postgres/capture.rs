//! Captures: everything is in them, at one instant, and the same twice.

use keepstone_engine::source::{Consistency, Source as _};
use keepstone_sources::postgres::PostgresSource;
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::fill;

#[test]
fn a_capture_holds_everything_and_twice_the_same_bytes() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let source = PostgresSource::new(server.settings("app"));
    assert_eq!(source.consistency(), Consistency::PointInTime);
    let capture = MemoryCapture::of(&source).unwrap();
    let paths = capture.paths();
    for path in &paths {
        println!("{path}");
    }
    println!("{:#?}", capture.report);
    println!(
        "{}",
        String::from_utf8_lossy(capture.content("app/schema-pre.sql"))
    );
    println!(
        "{}",
        String::from_utf8_lossy(capture.content("app/schema-post.sql"))
    );
    println!(
        "{}",
        String::from_utf8_lossy(capture.content("app/database"))
    );
    println!("{}", String::from_utf8_lossy(capture.content("app/tables")));
    println!(
        "{}",
        String::from_utf8_lossy(capture.content("app/sequences"))
    );
    println!("{}", String::from_utf8_lossy(capture.content("@roles")));
    println!(
        "{}",
        String::from_utf8_lossy(capture.content("app/table/public/types"))
    );
    let again = MemoryCapture::of(&source).unwrap();
    assert_eq!(capture, again);
}
