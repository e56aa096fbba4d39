//! Large objects: content in pieces, as lines of COPY's text form, and their owners as data.
//!
//! A line is `oid`, `offset` and the bytes in hexadecimal. An empty object has one line with no bytes.

use keepstone_engine::source::{RecordDigest, SourceError, SourceErrorKind};
use serde::{Deserialize, Serialize};

use super::client::Session;
use super::error::PgError;
use super::rows::{RowSum, TakeRow, ordered};
use super::sql::{ident, literal};

/// Bytes of an object in one line.
const PIECE_BYTES: usize = 64 * 1024;
/// Objects whose first piece is asked for at once.
const OBJECTS_AT_ONCE: usize = 32;

/// Who may do what with one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectOwner {
    /// Number of the object.
    pub(crate) oid: u32,
    owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// Grantee (none: everybody), privilege, and whether it can be passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<(Option<String>, String, bool)>,
}

impl ObjectOwner {
    /// Statements that give the object its owner, comment and grants.
    pub(crate) fn dress(&self, owners: bool) -> Vec<String> {
        let oid = self.oid;
        let mut statements = Vec::new();
        if owners {
            statements.push(format!(
                "ALTER LARGE OBJECT {oid} OWNER TO {};",
                ident(&self.owner)
            ));
            statements.extend(self.grants.iter().map(|(grantee, privilege, grantable)| {
                let privilege = if privilege == "UPDATE" {
                    "UPDATE"
                } else {
                    "SELECT"
                };
                let grantee = grantee
                    .as_ref()
                    .map_or_else(|| "PUBLIC".into(), |name| ident(name));
                let option = if *grantable { " WITH GRANT OPTION" } else { "" };
                format!("GRANT {privilege} ON LARGE OBJECT {oid} TO {grantee}{option};")
            }));
        }
        if let Some(comment) = &self.comment {
            statements.push(format!(
                "COMMENT ON LARGE OBJECT {oid} IS {};",
                literal(comment)
            ));
        }
        statements
    }
}

/// Lists the objects of the session's database.
pub(crate) fn owners(session: &mut Session) -> Result<Vec<ObjectOwner>, PgError> {
    let rows = session.query(
        "SELECT m.oid, pg_get_userbyid(m.lomowner), obj_description(m.oid, 'pg_largeobject'),
            (SELECT json_agg(json_build_array(r.rolname, a.privilege_type, a.is_grantable)
                ORDER BY r.rolname COLLATE \"C\" NULLS FIRST, a.privilege_type)
             FROM aclexplode(m.lomacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
             WHERE a.grantee <> m.lomowner)
         FROM pg_largeobject_metadata m ORDER BY m.oid",
    )?;
    rows.iter()
        .map(|row| {
            let bad = |problem: String| PgError::Protocol(format!("a large object: {problem}"));
            Ok(ObjectOwner {
                oid: row.text(0).parse().map_err(|_| bad("its number".into()))?,
                owner: row.text(1),
                comment: row.get(2).map(ToOwned::to_owned),
                grants: serde_json::from_str(row.get(3).unwrap_or("[]"))
                    .map_err(|error| bad(error.to_string()))?,
            })
        })
        .collect()
}

/// Reads the content of all objects. Hands over each line with its key.
pub(crate) fn read(
    session: &mut Session,
    owners: &[ObjectOwner],
    take: &mut TakeRow<'_>,
) -> Result<RowSum, PgError> {
    let mut digest = RecordDigest::new();
    let mut bytes = 0;
    let mut emit = |oid: u32, offset: usize, hex: &str| -> Result<(), PgError> {
        let line = format!("{oid}\t{offset}\t\\\\x{hex}\n");
        let place = |number: usize| ordered(i64::try_from(number).unwrap_or(i64::MAX));
        let key = [ordered(i64::from(oid)), place(offset)].concat();
        digest.add(line.as_bytes());
        bytes += line.len() as u64;
        Ok(take(&key, line.as_bytes())?)
    };
    for batch in owners.chunks(OBJECTS_AT_ONCE) {
        let numbers: Vec<_> = batch.iter().map(|owner| owner.oid.to_string()).collect();
        let rows = session.query(&format!(
            "SELECT o, lo_get(o, 0, {PIECE_BYTES}) FROM unnest('{{{}}}'::oid[]) o ORDER BY o",
            numbers.join(",")
        ))?;
        for (owner, row) in batch.iter().zip(&rows) {
            let mut hex = hex_of(row.get(1))?.to_owned();
            let mut offset = 0;
            loop {
                emit(owner.oid, offset, &hex)?;
                if hex.len() < 2 * PIECE_BYTES {
                    break;
                }
                offset += PIECE_BYTES;
                let next = session.query(&format!(
                    "SELECT lo_get({}, {offset}, {PIECE_BYTES})",
                    owner.oid
                ))?;
                hex_of(next.first().and_then(|row| row.get(0)))?.clone_into(&mut hex);
                if hex.is_empty() {
                    break;
                }
            }
        }
    }
    Ok(RowSum {
        rows: digest.count(),
        bytes,
        digest: digest.finish(),
    })
}

fn hex_of(value: Option<&str>) -> Result<&str, PgError> {
    value
        .and_then(|value| value.strip_prefix("\\x"))
        .ok_or_else(|| PgError::Protocol("a large object that is not hexadecimal".into()))
}

/// A line taken apart: number, offset, hexadecimal digits.
pub fn parse_line(line: &[u8]) -> Result<(u32, u64, &str), SourceError> {
    parse(line).ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Corrupt,
            "the captured large objects hold a line that is none",
        )
    })
}

fn parse(line: &[u8]) -> Option<(u32, u64, &str)> {
    let line = std::str::from_utf8(line)
        .ok()?
        .strip_suffix('\n')
        .unwrap_or_default();
    let mut fields = line.split('\t');
    let oid = fields.next()?.parse().ok()?;
    let offset = fields.next()?.parse().ok()?;
    let hex = fields.next()?.strip_prefix("\\\\x")?;
    let plain = hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && fields.next().is_none();
    plain.then_some((oid, offset, hex))
}

/// The statement that writes one line back. It holds no backslash: the script of a schema may have changed what that means.
pub(crate) fn restore_line(line: &[u8]) -> Result<String, SourceError> {
    let (oid, offset, hex) = parse_line(line)?;
    let bytes = format!("pg_catalog.decode('{hex}', 'hex')");
    Ok(if offset == 0 {
        format!("SELECT pg_catalog.lo_from_bytea({oid}, {bytes});")
    } else {
        format!("SELECT pg_catalog.lo_put({oid}, {offset}, {bytes});")
    })
}
