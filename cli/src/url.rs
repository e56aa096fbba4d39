//! Secrets in addresses: found, refused, never shown.

/// Names of query parameters that hold secrets, in the words of databases and of object stores.
const SECRET_PARAMETERS: [&str; 12] = [
    "password",
    "passwd",
    "pwd",
    "pass",
    "sslpassword",
    "token",
    "secret",
    "secret_access_key",
    "session_token",
    "account_key",
    "sas_token",
    "credential",
];

/// Whether an address holds a password: `user:password@`, or a parameter that is one.
///
/// Looks for the last `@`, so that a password with a slash or a question mark in it is still seen as one.
pub(crate) fn holds_secret(address: &str) -> bool {
    // A command has many words, each of which may be an address.
    if let Some(words) = address.strip_prefix("command:") {
        return words.split_whitespace().any(holds_secret);
    }
    let Some((_, rest)) = address.split_once("://") else {
        return false;
    };
    let user_info = rest.rsplit_once('@').map_or("", |(user_info, _)| user_info);
    let has_password = user_info
        .split_once(':')
        .is_some_and(|(_, password)| !password.is_empty());
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    has_password || query.split('&').any(is_secret_parameter)
}

/// The address without user info and query.
pub(crate) fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    format!("{scheme}://{rest}")
}

fn is_secret_parameter(pair: &str) -> bool {
    let Some((name, value)) = pair.split_once('=') else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    !value.is_empty() && SECRET_PARAMETERS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_wherever_it_hides() {
        for address in [
            "postgres://u:pw@h/db",
            "redis://:pw@h",
            "postgres://u:p/w@h/db",
            "postgres://u:p?w@h/db",
            "postgres://u:p@w@h/db",
            "postgres://h/db?user=u&password=pw",
            "s3://bucket/x?Secret_Access_Key=pw",
            "command:pg_dump -v 'postgres://u:pw@h/db'",
        ] {
            assert!(holds_secret(address), "{address}");
            assert!(!redacted(address).contains("pw"), "{address}");
        }
        assert_eq!(redacted("postgres://u:p@w@h/db?x=1"), "postgres://h/db");
    }

    #[test]
    fn an_address_without_one_is_fine() {
        for address in [
            "postgres://u@h:5432/db",
            "redis://h:6379/3",
            "redis://default:@h",
            "sqlite:/var/lib/a:b@c.db",
            "s3://bucket?endpoint=http://localhost:9000",
            "postgres://h/db?password_file=/run/pw&sslmode=require",
            "command:curl http://localhost:9200/_x -u me@example.org",
        ] {
            assert!(!holds_secret(address), "{address}");
        }
    }
}
