//! Roles of a server: read from the catalog as data, written back as statements.
//!
//! Passwords are hashes, and only a superuser can read them; without one they are left out and said to be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::assignment::Assignment;
use super::client::Session;
use super::error::PgError;
use super::mark;
use super::sql::{ident, literal};

/// Roles that come with the server.
const OWN_ROLE: &str = "rolname !~ '^pg_'";

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the attributes of a role are independent switches"
)]
pub(crate) struct Role {
    /// Name.
    pub(crate) name: String,
    superuser: bool,
    inherit: bool,
    makes_roles: bool,
    makes_databases: bool,
    login: bool,
    replication: bool,
    bypass_rls: bool,
    connection_limit: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    /// Hash of the password, in the server's own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// Settings of the role in every database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settings: Vec<Assignment>,
    /// Roles that it is a member of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    member_of: Vec<Membership>,
}

/// Membership of a role in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Membership {
    role: String,
    admin: bool,
    /// From PostgreSQL 16 on; before it follows the member's `inherit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inherit: Option<bool>,
    /// From PostgreSQL 16 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<bool>,
}

/// What was read of the roles, and whether their passwords are in it.
#[derive(Debug)]
pub(crate) struct Roles {
    /// By name.
    pub(crate) roles: Vec<Role>,
    /// Whether passwords could be read.
    pub(crate) passwords: bool,
}

/// Reads every role but the server's own.
pub(crate) fn read(session: &mut Session) -> Result<Roles, PgError> {
    let allowed = "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let passwords = session
        .query(allowed)?
        .first()
        .is_some_and(|row| row.flag(0));
    let table = if passwords { "pg_authid" } else { "pg_roles" };
    let password = if passwords { "r.rolpassword" } else { "NULL" };
    let rows = session.query(&format!(
        "SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
            r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, {password},
            shobj_description(r.oid, 'pg_authid'),
            (SELECT json_agg(c) FROM pg_db_role_setting s, unnest(s.setconfig) c
             WHERE s.setrole = r.oid AND s.setdatabase = 0),
            (SELECT json_agg(to_jsonb(m) || jsonb_build_object('role', g.rolname)
                ORDER BY g.rolname COLLATE \"C\", m.grantor)
             FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid)
         FROM {table} r WHERE {OWN_ROLE} ORDER BY r.rolname COLLATE \"C\""
    ))?;
    let bad = |error: serde_json::Error| PgError::Protocol(format!("a role: {error}"));
    let mut roles = Vec::with_capacity(rows.len());
    for row in rows {
        let members: Vec<serde_json::Value> =
            serde_json::from_str(row.get(13).unwrap_or("[]")).map_err(bad)?;
        let mut member_of: Vec<Membership> = Vec::new();
        for member in &members {
            let membership = Membership {
                role: member["role"].as_str().unwrap_or_default().to_owned(),
                admin: member["admin_option"].as_bool().unwrap_or(false),
                inherit: member["inherit_option"].as_bool(),
                set: member["set_option"].as_bool(),
            };
            // The same membership may be granted by several.
            if !member_of.contains(&membership) {
                member_of.push(membership);
            }
        }
        roles.push(Role {
            name: row.text(0),
            superuser: row.flag(1),
            inherit: row.flag(2),
            makes_roles: row.flag(3),
            makes_databases: row.flag(4),
            login: row.flag(5),
            replication: row.flag(6),
            bypass_rls: row.flag(7),
            connection_limit: row.number(8),
            valid_until: row.get(9).map(ToOwned::to_owned),
            password: row.get(10).map(ToOwned::to_owned),
            comment: mark::proper(row.get(11)),
            settings: Assignment::parse_all(row.get(12)).map_err(bad)?,
            member_of,
        });
    }
    Ok(Roles { roles, passwords })
}

/// Names of all roles of the server, its own among them.
pub(crate) fn names(session: &mut Session) -> Result<BTreeSet<String>, PgError> {
    let rows = session.query("SELECT rolname FROM pg_roles")?;
    Ok(rows.iter().map(|row| row.text(0)).collect())
}

/// The roles of this list that are needed by some, with those that they are members of.
pub(crate) fn closure<'a>(
    roles: &[Role],
    needed: impl Iterator<Item = &'a str>,
) -> BTreeSet<String> {
    let mut open: Vec<String> = needed.map(ToOwned::to_owned).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        let role = roles.iter().find(|role| role.name == name);
        if found.insert(name) {
            open.extend(
                role.iter()
                    .flat_map(|role| &role.member_of)
                    .map(|group| group.role.clone()),
            );
        }
    }
    found
}

/// Roles that a statement of a schema names apart from owners and grants: those of a policy or a user mapping.
pub(crate) fn named_in(statement: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(statement);
    let is_policy = text.starts_with("CREATE POLICY ");
    if !is_policy && !text.starts_with("CREATE USER MAPPING ") {
        return Vec::new();
    }
    // Both words are reserved: a name that is one of them is quoted.
    let before = if is_policy { "TO" } else { "FOR" };
    let mut words = words(&text).into_iter();
    let mut named = Vec::new();
    if !words.any(|word| word == before) {
        return named;
    }
    while let Some(word) = words.next() {
        let quoted = word.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        match quoted {
            Some(name) => named.push(name.replace("\"\"", "\"")),
            None if word.eq_ignore_ascii_case("public") => {}
            None => named.push(word),
        }
        if words.next().as_deref() != Some(",") {
            break;
        }
    }
    named
}

/// What a statement begins with, up to its first parenthesis, string or end: words, quoted names as they stand, and
/// single other characters.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let mut word = first.to_string();
        match first {
            '(' | '\'' | ';' => break,
            '"' => {
                while let Some(char) = chars.next() {
                    word.push(char);
                    if char == '"' && chars.next_if_eq(&'"').map(|next| word.push(next)).is_none() {
                        break;
                    }
                }
            }
            _ if first.is_whitespace() => continue,
            _ if first.is_alphanumeric() || first == '_' => {
                while let Some(char) =
                    chars.next_if(|char| char.is_alphanumeric() || "_$".contains(*char))
                {
                    word.push(char);
                }
            }
            _ => {}
        }
        found.push(word);
    }
    found
}

impl Role {
    /// Statements that make the role.
    pub(crate) fn create(&self) -> Vec<String> {
        let mut statements = vec![format!("CREATE ROLE {};", ident(&self.name))];
        statements.extend(self.shape());
        statements
    }

    /// The statement that makes the role, unless there is one of this name.
    pub(crate) fn create_if_missing(&self) -> String {
        let body = format!(
            "BEGIN CREATE ROLE {}; EXCEPTION WHEN duplicate_object THEN NULL; END",
            ident(&self.name)
        );
        format!("DO {};", literal(&body))
    }

    /// Statements that give a role of this name its attributes, comment and settings.
    pub(crate) fn shape(&self) -> Vec<String> {
        let name = ident(&self.name);
        let mut statements = vec![format!("ALTER ROLE {name} WITH {};", self.attributes())];
        if let Some(comment) = &self.comment {
            statements.push(mark::comment_on("ROLE", &self.name, Some(comment)));
        }
        let settings = self.settings.iter();
        statements
            .extend(settings.map(|setting| format!("ALTER ROLE {name} SET {};", setting.sql())));
        statements
    }

    /// Statements that make it a member of other roles, as far as those exist. `options`: the server is 16 or newer.
    pub(crate) fn join(&self, existing: &BTreeSet<String>, options: bool) -> Vec<String> {
        let there = self
            .member_of
            .iter()
            .filter(|membership| existing.contains(&membership.role));
        there
            .map(|membership| {
                let mut with: Vec<String> = Vec::new();
                if membership.admin {
                    with.push("ADMIN OPTION".into());
                }
                if options {
                    let flag =
                        |name, value: Option<bool>| value.map(|value| format!("{name} {value}"));
                    with.extend(flag("INHERIT", membership.inherit));
                    with.extend(flag("SET", membership.set));
                }
                let with = if with.is_empty() {
                    String::new()
                } else {
                    format!(" WITH {}", with.join(", "))
                };
                format!(
                    "GRANT {} TO {}{with};",
                    ident(&membership.role),
                    ident(&self.name)
                )
            })
            .collect()
    }

    fn attributes(&self) -> String {
        let mut words: Vec<String> = [
            (self.superuser, "SUPERUSER"),
            (self.inherit, "INHERIT"),
            (self.makes_roles, "CREATEROLE"),
            (self.makes_databases, "CREATEDB"),
            (self.login, "LOGIN"),
            (self.replication, "REPLICATION"),
            (self.bypass_rls, "BYPASSRLS"),
        ]
        .into_iter()
        .map(|(on, word)| {
            if on {
                word.to_owned()
            } else {
                format!("NO{word}")
            }
        })
        .collect();
        if self.connection_limit >= 0 {
            words.push(format!("CONNECTION LIMIT {}", self.connection_limit));
        }
        if let Some(password) = &self.password {
            words.push(format!("PASSWORD {}", literal(password)));
        }
        if let Some(until) = &self.valid_until {
            words.push(format!("VALID UNTIL {}", literal(until)));
        }
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_policies_and_user_mappings_are_named() {
        for (statement, expected) in [
            (
                "CREATE POLICY p ON public.t TO reader USING (true);",
                &["reader"][..],
            ),
            (
                "CREATE POLICY \"x TO \"\"y\" ON s.\"TO\" AS RESTRICTIVE FOR SELECT TO a, \"B \"\"c, d\", e WITH CHECK ((f = ' TO z'));",
                &["a", "B \"c, d", "e"],
            ),
            ("CREATE POLICY p ON t USING ((a = ' TO b'::text));", &[]),
            (
                "CREATE USER MAPPING FOR server SERVER s OPTIONS (\n \"user\" 'x'\n);",
                &["server"],
            ),
            ("CREATE USER MAPPING FOR \"A b\" SERVER s;", &["A b"]),
            ("CREATE USER MAPPING FOR public SERVER s;", &[]),
            (
                "COMMENT ON POLICY p ON t IS 'CREATE POLICY p ON t TO x';",
                &[],
            ),
        ] {
            assert_eq!(named_in(statement.as_bytes()), expected, "{statement}");
        }
    }
}
