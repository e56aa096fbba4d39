//! SQL as text: quoting names and values, and taking a script apart into statements.
//!
//! The splitter knows what pg_dump writes: strings, quoted names, dollar quotes, comments and function bodies in
//! standard SQL. A backslash outside of them would be a command to psql, and is refused.

use std::ops::Range;

use keepstone_engine::source::{SourceError, SourceErrorKind};

/// Quotes a name.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a name of two parts.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// Quotes a value.
pub(crate) fn literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') {
        return format!(" E'{}'", quoted.replace('\\', "\\\\"));
    }
    format!("'{quoted}'")
}

/// Quotes values for an `IN` list; never empty.
pub(crate) fn literals<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<_> = values.into_iter().map(literal).collect();
    if list.is_empty() {
        "NULL".into()
    } else {
        list.join(", ")
    }
}

/// Takes a script apart into statements, each without comments before it and with its semicolon.
pub fn statements(script: &[u8]) -> Result<Vec<&[u8]>, SourceError> {
    let mut found = Vec::new();
    let mut lexer = Lexer::new(script);
    while let Some(range) = lexer.statement()? {
        found.push(script.get(range).unwrap_or_default());
    }
    Ok(found)
}

/// A statement as psql takes it to its end: that takes every `begin` in a routine for the beginning of a block, so it is
/// quoted where it is a name.
pub(crate) fn for_psql(statement: &[u8]) -> Result<Vec<u8>, SourceError> {
    let mut lexer = Lexer::new(statement);
    while lexer.statement()?.is_some() {}
    let mut out = Vec::with_capacity(statement.len());
    let mut done = 0;
    for name in lexer.begins {
        out.extend_from_slice(statement.get(done..name.start).unwrap_or_default());
        // Names without quotes are folded.
        let quoted = ident(&BEGIN.to_ascii_lowercase());
        out.extend_from_slice(quoted.as_bytes());
        done = name.end;
    }
    out.extend_from_slice(statement.get(done..).unwrap_or_default());
    Ok(out)
}

struct Lexer<'a> {
    script: &'a [u8],
    at: usize,
    /// Where routines hold `begin` as a name.
    begins: Vec<Range<usize>>,
}

/// How deep a statement is nested, and what it began with.
#[derive(Default)]
struct Nesting {
    parentheses: usize,
    blocks: usize,
    words: usize,
    creates: bool,
    routine: bool,
    /// Where a `begin` is that nothing has followed yet.
    begin: Option<Range<usize>>,
}

/// The word that opens a block before `ATOMIC`, and a name otherwise.
const BEGIN: &str = "BEGIN";

impl Nesting {
    /// Follows `CREATE [OR REPLACE] FUNCTION … BEGIN ATOMIC … END`, whose body holds semicolons. Answers where a `begin` is
    /// that turned out to be a name.
    fn word(&mut self, word: &[u8], at: Range<usize>) -> Option<Range<usize>> {
        let begin = self.begin.take();
        self.words += 1;
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        if self.words == 1 {
            self.creates = is("create");
        }
        if self.creates && self.words <= 4 && (is("function") || is("procedure")) {
            self.routine = true;
        }
        if !self.routine || self.parentheses > 0 {
            return begin;
        }
        if is(BEGIN) {
            self.begin = Some(at);
        } else if is("atomic") && begin.is_some() && self.blocks == 0 {
            self.blocks = 1;
            return None;
        } else if is("case") && self.blocks > 0 {
            self.blocks += 1;
        } else if is("end") {
            self.blocks = self.blocks.saturating_sub(1);
        }
        begin
    }
}

impl<'a> Lexer<'a> {
    fn new(script: &'a [u8]) -> Self {
        Self {
            script,
            at: 0,
            begins: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.script.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.script.get(self.at..).unwrap_or_default()
    }

    /// The next statement; none at the end of the script.
    fn statement(&mut self) -> Result<Option<Range<usize>>, SourceError> {
        let mut start = None;
        let mut nesting = Nesting::default();
        while self.at < self.script.len() {
            let byte = self.peek(0);
            if byte.is_ascii_whitespace() {
                self.at += 1;
                continue;
            }
            if self.comment()? {
                continue;
            }
            let begin = *start.get_or_insert(self.at);
            if !is_word(byte) {
                self.begins.extend(nesting.begin.take());
            }
            match byte {
                b';' if nesting.parentheses == 0 && nesting.blocks == 0 => {
                    self.at += 1;
                    return Ok(Some(begin..self.at));
                }
                b'\\' => return Err(self.broken("a backslash outside of quotes")),
                b'\'' => self.quoted(b'\'', false)?,
                b'"' => self.quoted(b'"', false)?,
                b'$' => self.dollar()?,
                b'(' => {
                    nesting.parentheses += 1;
                    self.at += 1;
                }
                b')' => {
                    nesting.parentheses = nesting.parentheses.saturating_sub(1);
                    self.at += 1;
                }
                _ if is_word(byte) => {
                    let at = self.word();
                    let word = self.script.get(at.clone()).unwrap_or_default();
                    if matches!(word, b"E" | b"e") && self.peek(0) == b'\'' {
                        self.quoted(b'\'', true)?;
                    } else {
                        self.begins.extend(nesting.word(word, at));
                    }
                }
                _ => self.at += 1,
            }
        }
        match start {
            Some(_) => Err(self.broken("a statement without its end")),
            None => Ok(None),
        }
    }

    fn word(&mut self) -> Range<usize> {
        let start = self.at;
        while is_word(self.peek(0)) || self.peek(0) == b'$' {
            self.at += 1;
        }
        start..self.at
    }

    /// Passes one comment, if there is one.
    fn comment(&mut self) -> Result<bool, SourceError> {
        if self.rest().starts_with(b"--") {
            while self.at < self.script.len() && self.peek(0) != b'\n' {
                self.at += 1;
            }
            return Ok(true);
        }
        if !self.rest().starts_with(b"/*") {
            return Ok(false);
        }
        let mut depth = 0_usize;
        while self.at < self.script.len() {
            if self.rest().starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(true);
                }
            } else {
                self.at += 1;
            }
        }
        Err(self.broken("a comment without its end"))
    }

    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<(), SourceError> {
        self.at += 1;
        while self.at < self.script.len() {
            let byte = self.peek(0);
            let doubled = byte == quote && self.peek(1) == quote;
            if doubled || (escapes && byte == b'\\') {
                self.at += 2;
            } else if byte == quote {
                self.at += 1;
                return Ok(());
            } else {
                self.at += 1;
            }
        }
        Err(self.broken("a quote without its end"))
    }

    fn dollar(&mut self) -> Result<(), SourceError> {
        let rest = self.rest();
        let inner = rest
            .iter()
            .skip(1)
            .take_while(|byte| is_word(**byte))
            .count();
        if rest.get(inner + 1) != Some(&b'$') || rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            return Ok(());
        }
        let tag = rest.get(..inner + 2).unwrap_or_default();
        let body = rest.get(tag.len()..).unwrap_or_default();
        match find(body, tag) {
            Some(offset) => {
                self.at += offset + 2 * tag.len();
                Ok(())
            }
            None => Err(self.broken("a dollar quote without its end")),
        }
    }

    fn broken(&self, problem: &str) -> SourceError {
        let line = self
            .script
            .iter()
            .take(self.at)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        SourceError::new(
            SourceErrorKind::Corrupt,
            format!("the captured schema holds {problem} at line {line}"),
        )
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where `needle` starts in `hay`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len().max(1))
        .position(|window| window == needle)
}

/// The beginning of a statement for a message: one line, not too long, and nothing quoted, which may be a secret.
pub(crate) fn headline(statement: &[u8]) -> String {
    let text = String::from_utf8_lossy(statement);
    let line = text.lines().next().unwrap_or_default();
    let line = line.split('\'').next().unwrap_or_default();
    let cut: String = line.chars().take(100).collect();
    if cut.len() < text.trim_end().len() {
        format!("{}…", cut.trim_end())
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(script: &str) -> Vec<String> {
        statements(script.as_bytes())
            .unwrap()
            .into_iter()
            .map(|statement| String::from_utf8(statement.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn names_and_values_are_quoted() {
        assert_eq!(qualified("a\"b", "c d"), "\"a\"\"b\".\"c d\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'"), " E'a\\\\b'''");
    }

    #[test]
    fn statements_end_at_their_own_semicolon() {
        let script = "-- a; comment\nSELECT ';', \"a;\"\"b\", E'\\';', $$;$$, $x$;$$;$x$;\n/* ; /* ; */ */\nCREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);\n";
        let found = split(script);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("SELECT"));
        assert!(found[1].starts_with("CREATE RULE"));
    }

    #[test]
    fn a_function_body_in_standard_sql_is_one_statement() {
        let script = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;\nSELECT 1;";
        assert_eq!(split(script).len(), 2);
        // `begin` as a plain name nests nothing, in a routine or outside.
        assert_eq!(split("CREATE TABLE t (begin int);\nSELECT begin;").len(), 2);
        let named = "CREATE FUNCTION public.begin() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN 1; END$$;";
        assert_eq!(split(&format!("{named}\nSELECT 1;")).len(), 2);
        let inside = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN /* ; */ ATOMIC SELECT s.begin FROM s; \
            SELECT CASE WHEN true THEN begin END FROM s; END;";
        assert_eq!(split(&format!("{inside}\nSELECT 1;")).len(), 2);
        let text = |sql: &str| String::from_utf8(for_psql(sql.as_bytes()).unwrap()).unwrap();
        assert_eq!(text(named), named.replace(".begin", ".\"begin\""));
        let expected = inside.replace("s.begin", "s.\"begin\"");
        assert_eq!(
            text(inside),
            expected.replace("THEN begin", "THEN \"begin\"")
        );
        for same in ["SELECT begin;", "CREATE TABLE t (begin int);"] {
            assert_eq!(text(same), same);
        }
    }

    #[test]
    fn commands_to_psql_and_open_ends_are_refused() {
        for script in [
            "\\! touch /tmp/x\n",
            "SELECT 1; \\connect x",
            "SELECT 'a",
            "SELECT 1",
            "/* x",
            "SELECT $a$ x",
        ] {
            let error = statements(script.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Corrupt, "{script}");
        }
        assert_eq!(split("COMMENT ON TABLE t IS E'\\\\!';\n-- \\!\n").len(), 1);
    }
}
