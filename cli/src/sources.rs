//! From an address to a source, a target or an export of its kind.

use std::collections::BTreeMap;

use keepstone_engine::source::{Export, Source, Target};
use keepstone_sources::command::{
    CommandExport, CommandLine, CommandSettings, CommandSource, CommandTarget,
};
use keepstone_sources::files::{FilesSettings, FilesSource, FolderMark, Pattern};
use keepstone_sources::postgres::{
    Databases, PostgresExport, PostgresRestoreOptions, PostgresSettings, PostgresSource,
    PostgresTarget, SslMode,
};
use keepstone_sources::redis::{
    CaptureMethod, PrefixChange, RedisExport, RedisRestoreOptions, RedisSettings, RedisSource,
    RedisTarget, Ttl,
};
use keepstone_sources::sqlite::{
    SqliteExport, SqliteSettings, SqliteSource, SqliteTarget, SqliteTargetOptions,
};
use zeroize::Zeroizing;

use crate::cmd::backup::ExcludeArgs;
use crate::cmd::restore::{DatabaseArgs, TtlChoice};
use crate::context::Context;
use crate::error::CliError;
use crate::password::Secret;
use crate::source_options::{
    AbsolutePath, PostgresOptions, PostgresSslMode, RedisMode, RedisOptions, Seconds, SourceOptions,
};
use crate::source_spec::{Scheme, SourceAddress, SourceSpec};

impl Context {
    /// The source that a spec names.
    pub(crate) fn source(
        &self,
        spec: &SourceSpec,
        exclude: &ExcludeArgs,
    ) -> Result<Box<dyn Source>, CliError> {
        Ok(match &spec.address {
            SourceAddress::Files(paths) => {
                let mut settings = FilesSettings::new(paths);
                if let SourceOptions::Files(configured) = &spec.options {
                    take_excludes(&mut settings, configured);
                }
                take_excludes(&mut settings, exclude);
                Box::new(FilesSource::new(settings))
            }
            SourceAddress::Url(Scheme::Command, url) => {
                Box::new(CommandSource::new(command(url, &spec.options)?))
            }
            SourceAddress::Url(Scheme::Sqlite, url) => {
                Box::new(SqliteSource::new(sqlite(url, &spec.options)?))
            }
            SourceAddress::Url(Scheme::Redis, _) => Box::new(RedisSource::new(self.redis(spec)?)),
            SourceAddress::Url(Scheme::Postgres, _) => {
                Box::new(PostgresSource::new(self.postgres(spec)?))
            }
            SourceAddress::Url(Scheme::Files, url) => {
                return Err(CliError::usage(format!("{url} is no list of paths")));
            }
        })
    }

    /// The target that a spec names.
    pub(crate) fn target(
        &self,
        spec: &SourceSpec,
        args: &DatabaseArgs,
    ) -> Result<Box<dyn Target>, CliError> {
        Ok(match &spec.address {
            SourceAddress::Files(_) | SourceAddress::Url(Scheme::Files, _) => {
                return Err(CliError::usage(format!("{} holds files", spec.name))
                    .hint("Files are restored with --target DIR or --in-place."));
            }
            SourceAddress::Url(Scheme::Command, url) => {
                Box::new(CommandTarget::new(CommandSettings::parse_url(url)?))
            }
            SourceAddress::Url(Scheme::Sqlite, url) => {
                let settings = sqlite(url, &spec.options)?;
                let options = SqliteTargetOptions {
                    force: args.in_use,
                    tables: args.table.clone(),
                    busy_timeout: settings.busy_timeout,
                };
                Box::new(SqliteTarget::new(settings.path, options))
            }
            SourceAddress::Url(Scheme::Redis, _) => {
                let settings = self.redis(spec)?;
                let options = redis_options(args, settings.db)?;
                Box::new(RedisTarget::new(settings, options))
            }
            SourceAddress::Url(Scheme::Postgres, _) => Box::new(PostgresTarget::new(
                self.postgres(spec)?,
                postgres_options(args)?,
            )),
        })
    }

    fn redis(&self, spec: &SourceSpec) -> Result<RedisSettings, CliError> {
        let mut settings = RedisSettings::parse_url(url_of(spec))?;
        settings.password = match &spec.password {
            Some(from) => Some(text_of(&from.get(&self.environment, &self.ui)?)?),
            None => self.environment.text("REDISCLI_AUTH")?.map(Zeroizing::new),
        };
        if let SourceOptions::Redis(options) = &spec.options {
            take_redis(&mut settings, options)?;
        }
        Ok(settings)
    }

    fn postgres(&self, spec: &SourceSpec) -> Result<PostgresSettings, CliError> {
        let mut settings = PostgresSettings::parse_url(url_of(spec))?;
        if let Some(from) = &spec.password {
            settings.password = Some(text_of(&from.get(&self.environment, &self.ui)?)?);
        }
        if let SourceOptions::Postgres(options) = &spec.options {
            take_postgres(&mut settings, options);
        }
        Ok(settings)
    }
}

/// The export of a kind of source; none for files, which are restored as they are.
pub(crate) fn export(kind: &str) -> Option<Box<dyn Export>> {
    match kind {
        "command" => Some(Box::new(CommandExport::new())),
        "sqlite" => Some(Box::new(SqliteExport::new())),
        "redis" => Some(Box::new(RedisExport::new())),
        "postgres" => Some(Box::new(PostgresExport::new())),
        _ => None,
    }
}

fn url_of(spec: &SourceSpec) -> &str {
    match &spec.address {
        SourceAddress::Url(_, url) => url,
        SourceAddress::Files(_) => "",
    }
}

/// Adds what is to be left out to what was said before.
fn take_excludes(settings: &mut FilesSettings, more: &ExcludeArgs) {
    let patterns = more.exclude.iter().map(Pattern::new);
    let in_any_case = more.iexclude.iter().map(Pattern::ignoring_case);
    settings.exclude.extend(patterns.chain(in_any_case));
    for (files, ignore_case) in [(&more.exclude_file, false), (&more.iexclude_file, true)] {
        let files = files.iter().map(|file| (file.clone(), ignore_case));
        settings.exclude_files.extend(files);
    }
    let marks = more.exclude_if_present.iter();
    settings
        .exclude_marked
        .extend(marks.map(|mark| FolderMark::parse(mark)));
    if more.exclude_caches {
        settings.exclude_marked.push(FolderMark::cachedir());
    }
    if let Some(size) = more.exclude_larger_than {
        settings.exclude_larger_than_bytes = Some(size.0);
    }
    settings.one_file_system |= more.one_file_system;
}

fn command(url: &str, options: &SourceOptions) -> Result<CommandSettings, CliError> {
    let SourceOptions::Command(options) = options else {
        return Ok(CommandSettings::parse_url(url)?);
    };
    let mut settings = if !options.argv.is_empty() {
        CommandSettings::new(CommandLine::Argv(options.argv.clone()))?
    } else if options.shell {
        CommandSettings::parse_shell_url(url)?
    } else {
        CommandSettings::parse_url(url)?
    };
    settings.timeout = options.timeout.map(Seconds::duration);
    settings.environment = options.environment.clone().into_iter().collect();
    Ok(settings)
}

fn sqlite(url: &str, options: &SourceOptions) -> Result<SqliteSettings, CliError> {
    let mut settings = SqliteSettings::parse_url(url)?;
    if let SourceOptions::Sqlite(options) = options {
        set(
            &mut settings.busy_timeout,
            options.busy_timeout.map(Seconds::duration),
        );
        set(&mut settings.digest_rows, options.digest_rows);
        settings.spool_dir = options.spool_dir.clone().map(|path| path.0);
    }
    Ok(settings)
}

fn take_redis(settings: &mut RedisSettings, options: &RedisOptions) -> Result<(), CliError> {
    let method = options.mode.map(|mode| match mode {
        RedisMode::Auto => CaptureMethod::Auto,
        RedisMode::Replica => CaptureMethod::Replication,
        RedisMode::Scan => CaptureMethod::Scan,
    });
    set(&mut settings.method, method);
    settings.key_pattern.clone_from(&options.key_pattern);
    if let Some(AbsolutePath(path)) = &options.tls_ca_file {
        let pem = std::fs::read(path).map_err(|source| CliError::File {
            act: "read the certificates",
            path: path.clone(),
            source,
        })?;
        settings.tls_roots_pem = Some(pem);
    }
    set(
        &mut settings.connect_timeout,
        options.connect_timeout.map(Seconds::duration),
    );
    set(
        &mut settings.answer_timeout,
        options.answer_timeout.map(Seconds::duration),
    );
    let sort_bytes = options
        .sort_memory
        .map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    set(&mut settings.sort_bytes_max, sort_bytes);
    set(
        &mut settings.spool_folder,
        options.spool_dir.clone().map(|path| path.0),
    );
    set(
        &mut settings.spool_bytes_max,
        options.spool_max.map(|size| size.0),
    );
    Ok(())
}

fn take_postgres(settings: &mut PostgresSettings, options: &PostgresOptions) {
    let databases = &options.databases.0;
    if !databases.is_empty() {
        settings.databases = Databases::Named(databases.clone());
    }
    let ssl_mode = options.sslmode.map(|mode| match mode {
        PostgresSslMode::Disable => SslMode::Disable,
        PostgresSslMode::Prefer => SslMode::Prefer,
        PostgresSslMode::Require => SslMode::Require,
        PostgresSslMode::VerifyFull => SslMode::VerifyFull,
    });
    set(&mut settings.ssl_mode, ssl_mode);
    let path = |path: &Option<AbsolutePath>| path.clone().map(|path| Some(path.0));
    set(&mut settings.ssl_root_cert, path(&options.sslrootcert));
    set(&mut settings.passfile, path(&options.passfile));
    set(&mut settings.pg_dump, path(&options.pg_dump));
    let timeouts = &mut settings.timeouts;
    set(
        &mut timeouts.connect,
        options.connect_timeout.map(Seconds::duration),
    );
    set(
        &mut timeouts.answer,
        options.answer_timeout.map(Seconds::duration),
    );
    set(
        &mut timeouts.lock,
        options.lock_timeout.map(Seconds::duration),
    );
    set(
        &mut settings.connections,
        options.connections.map(usize::from),
    );
}

/// Puts what was said in the place of a default.
fn set<T>(field: &mut T, said: Option<T>) {
    if let Some(value) = said {
        *field = value;
    }
}

/// `db`: the database that the target's address names.
fn redis_options(args: &DatabaseArgs, db: Option<u32>) -> Result<RedisRestoreOptions, CliError> {
    let numbers = args.database.iter().map(|text| {
        let number = text.parse::<u32>();
        number.map_err(|_| CliError::usage(format!("--database {text} is no number of a database")))
    });
    let numbers: Vec<u32> = numbers.collect::<Result<_, _>>()?;
    let databases = match (numbers.as_slice(), db) {
        ([], _) => BTreeMap::new(),
        ([one], Some(db)) => BTreeMap::from([(*one, db)]),
        (several, None) => several.iter().map(|number| (*number, *number)).collect(),
        (_, Some(db)) => {
            return Err(CliError::usage(format!(
                "several databases cannot go into database {db}"
            )));
        }
    };
    Ok(RedisRestoreOptions {
        databases,
        key_patterns: args.key_pattern.clone(),
        prefix: args.prefix.as_ref().map(|text| {
            let (from, to) = text.split_once('=').unwrap_or(("", text));
            PrefixChange {
                from: from.to_owned(),
                to: to.to_owned(),
            }
        }),
        ttl: match args.ttl {
            TtlChoice::Keep => Ttl::Keep,
            TtlChoice::Shift => Ttl::Shift,
            TtlChoice::Drop => Ttl::Drop,
        },
        functions: args.functions,
        ..RedisRestoreOptions::default()
    })
}

fn postgres_options(args: &DatabaseArgs) -> Result<PostgresRestoreOptions, CliError> {
    let tables = args
        .table
        .iter()
        .map(|table| PostgresRestoreOptions::parse_table(table));
    Ok(PostgresRestoreOptions {
        databases: args.database.clone(),
        schemas: args.schema.clone(),
        tables: tables.collect::<Result<_, _>>()?,
        // What is replaced stands in the plan, is asked for before anything is touched, and is kept.
        replace: true,
        create_roles: !args.no_owner,
        owners: !args.no_owner,
        ..PostgresRestoreOptions::default()
    })
}

fn text_of(secret: &Secret) -> Result<Zeroizing<String>, CliError> {
    String::from_utf8(secret.to_vec())
        .map(Zeroizing::new)
        .map_err(|_| CliError::usage("the password of a source is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cmd::test_context;

    /// The options of `[source.a]` with these lines.
    fn options(lines: &str) -> SourceOptions {
        let context = test_context(&format!("[source.a]\n{lines}\n"));
        let name = "a".parse().unwrap();
        context.settings.config.source(&name).unwrap().options
    }

    #[test]
    fn every_option_of_redis_reaches_it() {
        let mut settings = RedisSettings::new("h", 1);
        let SourceOptions::Redis(options) = options(
            "url = \"redis://h\"\nmode = \"scan\"\nkey_pattern = \"a*\"\nconnect_timeout = 1\n\
             answer_timeout = \"2min\"\nsort_memory = \"1M\"\nspool_dir = \"/s\"\nspool_max = 9",
        ) else {
            panic!("options of redis");
        };
        take_redis(&mut settings, &options).unwrap();
        assert_eq!(settings.method, CaptureMethod::Scan);
        assert_eq!(settings.key_pattern.as_deref(), Some("a*"));
        assert_eq!(settings.connect_timeout, Duration::from_secs(1));
        assert_eq!(settings.answer_timeout, Duration::from_mins(2));
        assert_eq!(
            (settings.sort_bytes_max, settings.spool_bytes_max),
            (1 << 20, 9)
        );
        assert_eq!(settings.spool_folder, std::path::Path::new("/s"));
    }

    #[test]
    fn every_option_of_postgres_reaches_it() {
        let mut settings = PostgresSettings::parse_url("postgres://u@h").unwrap();
        let SourceOptions::Postgres(options) = options(
            "url = \"postgres://h\"\ndatabases = [\"a\", \"b\"]\nsslmode = \"verify-full\"\nsslrootcert = \"/c\"\n\
             passfile = \"/p\"\nconnect_timeout = 1\nanswer_timeout = 2\nlock_timeout = 3\nconnections = 4\n\
             pg_dump = \"/d\"",
        ) else {
            panic!("options of postgres");
        };
        take_postgres(&mut settings, &options);
        assert_eq!(
            settings.databases,
            Databases::Named(vec!["a".into(), "b".into()])
        );
        assert_eq!(settings.ssl_mode, SslMode::VerifyFull);
        let paths = [
            &settings.ssl_root_cert,
            &settings.passfile,
            &settings.pg_dump,
        ];
        let paths = paths.map(|path| path.as_ref().unwrap().to_str().unwrap());
        assert_eq!(paths, ["/c", "/p", "/d"]);
        let waits = [
            settings.timeouts.connect,
            settings.timeouts.answer,
            settings.timeouts.lock,
        ];
        assert_eq!(waits.map(|wait| wait.as_secs()), [1, 2, 3]);
        assert_eq!(settings.connections, 4);
    }

    #[test]
    fn every_option_of_sqlite_and_of_a_command_reaches_it() {
        let told = options(
            "url = \"sqlite:/a\"\nbusy_timeout = \"5s\"\ndigest_rows = false\nspool_dir = \"/s\"",
        );
        let settings = sqlite("sqlite:/a", &told).unwrap();
        assert_eq!(settings.busy_timeout, Duration::from_secs(5));
        assert!(!settings.digest_rows);
        assert_eq!(
            settings.spool_dir.as_deref(),
            Some(std::path::Path::new("/s"))
        );
        let told = options(
            "url = \"command:a | b\"\nshell = true\ntimeout = 7\nenvironment = { A = \"1\" }",
        );
        let settings = command("command:a | b", &told).unwrap();
        assert_eq!(settings.command, CommandLine::Shell("a | b".into()));
        assert_eq!(settings.timeout, Some(Duration::from_secs(7)));
        assert_eq!(settings.environment, [("A".to_owned(), "1".to_owned())]);
    }
}
