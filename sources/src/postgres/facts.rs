//! Facts of a database that lie outside of it: encoding, owner, settings, grants, extensions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::assignment::Assignment;
use super::client::Session;
use super::error::PgError;
use super::mark;
use super::sql::{ident, literal};

/// A privilege on the database itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// None: everybody.
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

/// An extension that the database uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extension {
    /// Name.
    pub(crate) name: String,
    /// Installed version.
    pub(crate) version: String,
}

/// Settings of one role in this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RoleSettings {
    role: String,
    settings: Vec<Assignment>,
}

/// What `CREATE DATABASE` and `ALTER DATABASE` need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseFacts {
    /// Name.
    pub(crate) name: String,
    /// Owner.
    pub(crate) owner: String,
    /// Encoding by name.
    pub(crate) encoding: String,
    /// Order of text.
    pub(crate) collate: String,
    /// Classes of characters.
    pub(crate) ctype: String,
    /// `c` of the system, `i` of ICU, `b` of PostgreSQL itself.
    pub(crate) provider: String,
    /// Locale of ICU or of PostgreSQL itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) locale: Option<String>,
    /// Tablespace.
    pub(crate) tablespace: String,
    connection_limit: i64,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// None: nobody ever changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<Grant>>,
    settings: Vec<Assignment>,
    role_settings: Vec<RoleSettings>,
    /// Extensions, by name.
    pub(crate) extensions: Vec<Extension>,
    /// Tablespaces that its tables and indexes name.
    pub(crate) tablespaces: Vec<String>,
    /// Roles that own something in it or are named by a grant or a policy.
    roles: Vec<String>,
}

/// Reads the facts of the session's database.
pub(crate) fn read(session: &mut Session) -> Result<DatabaseFacts, PgError> {
    let bad =
        |error: serde_json::Error| PgError::Protocol(format!("facts of the database: {error}"));
    let rows = session.query(
        "SELECT to_jsonb(d), pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), t.spcname,
            shobj_description(d.oid, 'pg_database'),
            (SELECT json_agg(json_build_object('grantee', r.rolname, 'privilege', a.privilege_type,
                'grantable', a.is_grantable)
                ORDER BY r.rolname COLLATE \"C\" NULLS FIRST, a.privilege_type)
             FROM aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
             WHERE d.datacl IS NOT NULL),
            (SELECT json_agg(c) FROM pg_db_role_setting s, unnest(s.setconfig) c
             WHERE s.setdatabase = d.oid AND s.setrole = 0)
         FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
         WHERE d.datname = current_database()",
    )?;
    let row = rows
        .first()
        .ok_or_else(|| PgError::Protocol("no facts of the database".into()))?;
    let raw: Value = serde_json::from_str(row.get(0).unwrap_or("{}")).map_err(bad)?;
    let field = |name: &str| raw.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(DatabaseFacts {
        name: field("datname").unwrap_or_default(),
        owner: row.text(1),
        encoding: row.text(2),
        collate: field("datcollate").unwrap_or_default(),
        ctype: field("datctype").unwrap_or_default(),
        provider: field("datlocprovider").unwrap_or_else(|| "c".into()),
        locale: field("datlocale").or_else(|| field("daticulocale")),
        tablespace: row.text(3),
        connection_limit: raw
            .get("datconnlimit")
            .and_then(Value::as_i64)
            .unwrap_or(-1),
        comment: mark::proper(row.get(4)),
        grants: row
            .get(5)
            .map(serde_json::from_str)
            .transpose()
            .map_err(bad)?,
        settings: Assignment::parse_all(row.get(6)).map_err(bad)?,
        role_settings: role_settings(session)?,
        extensions: extensions(session)?,
        tablespaces: tablespaces(session)?,
        roles: roles(session)?,
    })
}

fn role_settings(session: &mut Session) -> Result<Vec<RoleSettings>, PgError> {
    let rows = session.query(
        "SELECT r.rolname, to_json(s.setconfig) FROM pg_db_role_setting s
         JOIN pg_database d ON d.oid = s.setdatabase JOIN pg_roles r ON r.oid = s.setrole
         WHERE d.datname = current_database() ORDER BY r.rolname COLLATE \"C\"",
    )?;
    rows.iter()
        .map(|row| {
            let settings = Assignment::parse_all(row.get(1))
                .map_err(|error| PgError::Protocol(format!("settings of a role: {error}")))?;
            Ok(RoleSettings {
                role: row.text(0),
                settings,
            })
        })
        .collect()
}

fn extensions(session: &mut Session) -> Result<Vec<Extension>, PgError> {
    let sql = "SELECT extname, extversion FROM pg_extension ORDER BY extname COLLATE \"C\"";
    let rows = session.query(sql)?;
    Ok(rows
        .iter()
        .map(|row| Extension {
            name: row.text(0),
            version: row.text(1),
        })
        .collect())
}

fn tablespaces(session: &mut Session) -> Result<Vec<String>, PgError> {
    let rows = session.query(
        "SELECT DISTINCT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
         WHERE NOT c.relisshared ORDER BY 1",
    )?;
    Ok(rows.iter().map(|row| row.text(0)).collect())
}

fn roles(session: &mut Session) -> Result<Vec<String>, PgError> {
    // Role 10 made the server. What it owns is recorded nowhere, so it is taken as needed.
    let rows = session.query(
        "SELECT r.rolname FROM pg_roles r WHERE r.rolname !~ '^pg_' AND (r.oid = 10 OR r.oid IN (
            SELECT s.refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
            WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass))
         ORDER BY r.rolname COLLATE \"C\"",
    )?;
    Ok(rows.iter().map(|row| row.text(0)).collect())
}

impl DatabaseFacts {
    /// Statement that makes an empty database like it under another name. `providers`: the server is 15 or newer.
    pub(crate) fn create(&self, name: &str, providers: bool, tablespace: bool) -> String {
        let mut sql = format!(
            "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            ident(name),
            literal(&self.encoding),
            literal(&self.collate),
            literal(&self.ctype)
        );
        let provider = match (self.provider.as_str(), &self.locale) {
            _ if !providers => String::new(),
            ("i", Some(locale)) => format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale)),
            ("b", Some(locale)) => {
                format!(
                    " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}",
                    literal(locale)
                )
            }
            _ => " LOCALE_PROVIDER libc".into(),
        };
        sql.push_str(&provider);
        if tablespace && self.tablespace != "pg_default" {
            sql.push_str(" TABLESPACE ");
            sql.push_str(&ident(&self.tablespace));
        }
        sql
    }

    /// Statements that give a database of this name its owner, grants and settings.
    pub(crate) fn dress(&self, name: &str, owners: bool) -> Vec<String> {
        let database = ident(name);
        let mut statements = Vec::new();
        if owners {
            statements.push(format!(
                "ALTER DATABASE {database} OWNER TO {};",
                ident(&self.owner)
            ));
        }
        if self.connection_limit >= 0 {
            let limit = self.connection_limit;
            statements.push(format!(
                "ALTER DATABASE {database} CONNECTION LIMIT {limit};"
            ));
        }
        for setting in &self.settings {
            statements.push(format!("ALTER DATABASE {database} SET {};", setting.sql()));
        }
        if owners {
            statements.extend(self.grant_statements(&database));
            for of_role in &self.role_settings {
                statements.extend(of_role.settings.iter().map(|setting| {
                    let role = ident(&of_role.role);
                    format!(
                        "ALTER ROLE {role} IN DATABASE {database} SET {};",
                        setting.sql()
                    )
                }));
            }
        }
        statements
    }

    fn grant_statements(&self, database: &str) -> Vec<String> {
        let Some(grants) = &self.grants else {
            return Vec::new();
        };
        let mut statements = vec![
            format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC;"),
            format!(
                "REVOKE ALL ON DATABASE {database} FROM {};",
                ident(&self.owner)
            ),
        ];
        statements.extend(grants.iter().map(|grant| {
            let grantee = grant
                .grantee
                .as_ref()
                .map_or_else(|| "PUBLIC".into(), |name| ident(name));
            let option = if grant.grantable {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            format!(
                "GRANT {} ON DATABASE {database} TO {grantee}{option};",
                privilege(&grant.privilege)
            )
        }));
        statements
    }

    /// Roles that it needs.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        let grantees = self
            .grants
            .iter()
            .flatten()
            .filter_map(|grant| grant.grantee.as_deref());
        let configured = self
            .role_settings
            .iter()
            .map(|settings| settings.role.as_str());
        std::iter::once(self.owner.as_str())
            .chain(grantees)
            .chain(configured)
            .chain(self.roles.iter().map(String::as_str))
    }
}

/// The privilege as a keyword. Anything else from a capture is no privilege.
fn privilege(word: &str) -> &str {
    match word {
        "CREATE" | "CONNECT" | "TEMPORARY" => word,
        _ => "CONNECT",
    }
}
