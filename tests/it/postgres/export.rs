//! Exports: what stock psql makes of them equals what was captured.

use std::collections::BTreeMap;
use std::io;

use keepstone_engine::source::{Export as _, ExportSink};
use keepstone_sources::postgres::PostgresExport;
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{assert_same_data, capture, fill, schema};

#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
}

impl ExportSink for Files {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        Ok(self.files.entry(name.to_owned()).or_default())
    }
}

fn export(capture: &MemoryCapture) -> BTreeMap<String, Vec<u8>> {
    let mut files = Files::default();
    PostgresExport::new().export(capture, &mut files).unwrap();
    files.files
}

fn load(server: &PostgresServer, database: &str, script: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = [
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        database,
        "-f",
        path,
    ];
    server.tool("psql", &arguments).unwrap();
}

#[test]
fn stock_psql_loads_an_export_and_gets_the_same_data() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let before = capture(&server, "app");
    let files = export(&before);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["app.sql", "globals.sql"]);
    let script = String::from_utf8_lossy(&files["app.sql"]).into_owned();
    assert!(
        script.contains("\n\\restrict "),
        "psql of this machine knows it"
    );
    assert_ne!(
        files["app.sql"],
        export(&before)["app.sql"],
        "the key is random"
    );

    // Onto another server, which has neither roles nor databases.
    let other = PostgresServer::start();
    other.execute("postgres", "CREATE DATABASE app TEMPLATE template0");
    let globals =
        String::from_utf8_lossy(&files["globals.sql"]).replace("CREATE ROLE \"postgres\";", "");
    load(&other, "postgres", globals.as_bytes());
    load(&other, "app", &files["app.sql"]);
    assert_eq!(schema(&server, "app"), schema(&other, "app"));
    assert_same_data((&before, "app"), (&capture(&other, "app"), "app"));
    assert_eq!(
        before.content("@roles"),
        capture(&other, "app").content("@roles")
    );
}
