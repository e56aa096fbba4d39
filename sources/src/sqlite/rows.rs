//! The canonical form of a row, over which tables are digested.
//!
//! A row is its stored columns in the order of their declaration, generated columns left out, each a type byte and a
//! payload, all numbers little-endian:
//!
//! | value | type | payload |
//! |---|---|---|
//! | NULL | 0 | none |
//! | INTEGER | 1 | 8 bytes, two's complement |
//! | REAL | 2 | 8 bytes, IEEE 754 |
//! | TEXT | 3 | length in bytes (8), the text as UTF-8 |
//! | BLOB | 4 | length in bytes (8), the bytes |
//!
//! The type is that of the value, not of the column. An implicit rowid is left out, because `VACUUM` may change it;
//! an `INTEGER PRIMARY KEY` is a column. The digest of a table is the record digest over its rows, and the digest of
//! the schema is that over (`type`, `name`, `tbl_name`, `sql`) of `sqlite_schema`.

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

/// Appends the canonical form of one value.
pub(super) fn push(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => out.push(0),
        Value::Integer(number) => {
            out.push(1);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Real(number) => {
            out.push(2);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Text(bytes) => push_bytes(out, 3, bytes),
        Value::Blob(bytes) => push_bytes(out, 4, bytes),
    }
}

fn push_bytes(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use keepstone_engine::source::RecordDigest;

    use super::*;

    /// Known answer: do not regenerate, the digests of every capture depend on it.
    #[test]
    fn the_canonical_form_never_changes() {
        let mut row = Vec::new();
        for value in [
            Value::Null,
            Value::Integer(-2),
            Value::Real(0.5),
            Value::Text("ü".as_bytes()),
            Value::Blob(&[0, 255]),
        ] {
            push(&mut row, value);
        }
        let expected = b"\x00\
            \x01\xfe\xff\xff\xff\xff\xff\xff\xff\
            \x02\x00\x00\x00\x00\x00\x00\xe0\x3f\
            \x03\x02\x00\x00\x00\x00\x00\x00\x00\xc3\xbc\
            \x04\x02\x00\x00\x00\x00\x00\x00\x00\x00\xff";
        assert_eq!(row, expected);
        let mut digest = RecordDigest::new();
        digest.add(&row);
        assert_eq!(
            digest.finish().to_string(),
            blake3::hash(expected).to_string()
        );
    }

    #[test]
    fn values_of_different_types_differ() {
        let form = |value| {
            let mut out = Vec::new();
            push(&mut out, value);
            out
        };
        let forms = [
            form(Value::Null),
            form(Value::Integer(0)),
            form(Value::Real(0.0)),
            form(Value::Real(-0.0)),
            form(Value::Text(b"")),
            form(Value::Blob(b"")),
            form(Value::Text(b"0")),
        ];
        for (i, a) in forms.iter().enumerate() {
            assert!(forms.iter().skip(i + 1).all(|b| a != b));
        }
    }
}
