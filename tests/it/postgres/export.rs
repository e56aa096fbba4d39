//! Exports: what stock psql makes of them equals what was captured.

use std::collections::BTreeMap;
use std::io;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Export as _, ExportSink, SourceErrorKind};
use keepstone_sources::postgres::PostgresExport;
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{assert_same_data, capture, fill, fill_small, schema};

#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
}

impl ExportSink for Files {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        Ok(self.files.entry(name.to_owned()).or_default())
    }
}

pub(super) fn export(capture: &MemoryCapture) -> BTreeMap<String, Vec<u8>> {
    let mut files = Files::default();
    PostgresExport::new().export(capture, &mut files).unwrap();
    files.files
}

pub(super) fn load(server: &PostgresServer, database: &str, script: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    server.load(database, file.path());
}

#[test]
fn stock_psql_loads_an_export_and_gets_the_same_data() {
    let server = PostgresServer::start();
    fill(&server, "app");
    server.execute(
        "app",
        "ALTER DATABASE app SET search_path = \"$user\", public;
         ALTER ROLE reader SET work_mem = '3MB'; ALTER ROLE reader PASSWORD 'it''s';
         COMMENT ON ROLE reader IS 'reads'; GRANT CREATE ON DATABASE app TO reader;
         ALTER DATABASE app OWNER TO \"app owner\"",
    );
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
    load(&other, "postgres", &files["globals.sql"]);
    other.execute("postgres", "CREATE DATABASE app TEMPLATE template0");
    load(&other, "app", &files["app.sql"]);
    load(&other, "postgres", &files["globals.sql"]);
    assert_eq!(schema(&server, "app"), schema(&other, "app"));
    let after = capture(&other, "app");
    assert_same_data((&before, "app"), (&after, "app"));
    assert_eq!(before.content("@roles"), after.content("@roles"));
    assert_eq!(
        before.content("app/database"),
        after.content("app/database")
    );
}

#[test]
fn an_export_of_a_hostile_capture_is_refused() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let good = capture(&server, "app");
    let spoil = |path: &str, bytes: &[u8]| {
        let mut bad = good.clone();
        let (info, content) = bad.items.get_mut(&RepoPath::parse(path).unwrap()).unwrap();
        *content = bytes.to_vec();
        info.size_bytes = bytes.len() as u64;
        let error = PostgresExport::new()
            .export(&bad, &mut Files::default())
            .unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{path}: {error:?}");
    };
    spoil("app/table/public/t", b"1\tx\n\\.\n\\! touch /tmp/pwned\n");
    spoil("app/schema-pre.sql", b"SELECT 1;\n\\! touch /tmp/pwned\n");
    spoil("app/schema-post.sql", b"SELECT 'open");
    spoil("app/tables", b"{\"schema\":\"public\"}\n");
    spoil("app/database", b"");
}
