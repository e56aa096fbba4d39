//! Settings of databases and roles, from the catalog's form to `ALTER … SET`.

use serde::{Deserialize, Serialize};

use super::sql::{ident, literal};

/// Settings whose value is a list of quoted names.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A setting and its value, as `ALTER … SET` takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    name: String,
    value: String,
}

impl Assignment {
    /// Parses a JSON list of `name=value`, or its absence.
    pub(crate) fn parse_all(json: Option<&str>) -> Result<Vec<Self>, serde_json::Error> {
        let list: Vec<String> = serde_json::from_str(json.unwrap_or("[]"))?;
        let mut settings: Vec<_> = list
            .iter()
            .filter_map(|text| text.split_once('='))
            .map(|(name, value)| Self {
                name: name.into(),
                value: value.into(),
            })
            .collect();
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(settings)
    }

    /// What follows `SET`.
    pub(crate) fn sql(&self) -> String {
        let name: Vec<_> = self.name.split('.').map(ident).collect();
        let value = if LISTS.contains(&self.name.as_str()) {
            let items: Vec<_> = split_list(&self.value)
                .iter()
                .map(|item| literal(item))
                .collect();
            if items.is_empty() {
                literal("")
            } else {
                items.join(", ")
            }
        } else {
            literal(&self.value)
        };
        format!("{} TO {value}", name.join("."))
    }
}

/// Splits `"$user", public` into its names.
fn split_list(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                if let Some(item) = items.last_mut() {
                    item.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            char if char.is_whitespace() && !quoted => {}
            char => {
                if let Some(item) = items.last_mut() {
                    item.push(char);
                }
            }
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_statements() {
        let json =
            r#"["work_mem=4MB","search_path=\"$user\", \"A,b\"\"c\", public","my.thing=it's"]"#;
        let found = Assignment::parse_all(Some(json)).unwrap();
        let sql: Vec<_> = found.iter().map(Assignment::sql).collect();
        assert_eq!(
            sql,
            [
                r#""my"."thing" TO 'it''s'"#,
                r#""search_path" TO '$user', 'A,b"c', 'public'"#,
                r#""work_mem" TO '4MB'"#,
            ]
        );
    }
}
