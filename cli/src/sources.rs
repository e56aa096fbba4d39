//! From an address to a source, a target or an export of its kind.

use keepstone_engine::source::{Export, Source, Target};
use keepstone_sources::command::{CommandExport, CommandSettings, CommandSource, CommandTarget};
use keepstone_sources::files::{FilesSettings, FilesSource, FolderMark, Pattern};
use keepstone_sources::postgres::{
    PostgresExport, PostgresRestoreOptions, PostgresSettings, PostgresSource, PostgresTarget,
};
use keepstone_sources::redis::{
    PrefixChange, RedisExport, RedisRestoreOptions, RedisSettings, RedisSource, RedisTarget, Ttl,
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
                take_excludes(&mut settings, exclude);
                Box::new(FilesSource::new(settings))
            }
            SourceAddress::Url(Scheme::Command, url) => {
                Box::new(CommandSource::new(CommandSettings::parse_url(url)?))
            }
            SourceAddress::Url(Scheme::Sqlite, url) => {
                Box::new(SqliteSource::new(SqliteSettings::parse_url(url)?))
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
                let settings = SqliteSettings::parse_url(url)?;
                Box::new(SqliteTarget::new(
                    settings.path,
                    SqliteTargetOptions::default(),
                ))
            }
            SourceAddress::Url(Scheme::Redis, _) => {
                Box::new(RedisTarget::new(self.redis(spec)?, redis_options(args)))
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
        Ok(settings)
    }

    fn postgres(&self, spec: &SourceSpec) -> Result<PostgresSettings, CliError> {
        let mut settings = PostgresSettings::parse_url(url_of(spec))?;
        if let Some(from) = &spec.password {
            settings.password = Some(text_of(&from.get(&self.environment, &self.ui)?)?);
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

fn take_excludes(settings: &mut FilesSettings, exclude: &ExcludeArgs) {
    settings.exclude = exclude
        .exclude
        .iter()
        .map(Pattern::new)
        .chain(exclude.iexclude.iter().map(Pattern::ignoring_case))
        .collect();
    settings.exclude_files = exclude
        .exclude_file
        .iter()
        .map(|file| (file.clone(), false))
        .collect();
    settings.exclude_marked = exclude
        .exclude_if_present
        .iter()
        .map(|mark| FolderMark::parse(mark))
        .collect();
    if exclude.exclude_caches {
        settings.exclude_marked.push(FolderMark::cachedir());
    }
    settings.exclude_larger_than_bytes = exclude.exclude_larger_than.map(|size| size.0);
    settings.one_file_system = exclude.one_file_system;
}

fn redis_options(args: &DatabaseArgs) -> RedisRestoreOptions {
    RedisRestoreOptions {
        key_pattern: args.key_pattern.first().cloned(),
        prefix: args.prefix.as_ref().map(|to| PrefixChange {
            from: String::new(),
            to: to.clone(),
        }),
        ttl: match args.ttl {
            TtlChoice::Keep => Ttl::Keep,
            TtlChoice::Shift => Ttl::Shift,
            TtlChoice::Drop => Ttl::Drop,
        },
        ..RedisRestoreOptions::default()
    }
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
        ..PostgresRestoreOptions::default()
    })
}

fn text_of(secret: &Secret) -> Result<Zeroizing<String>, CliError> {
    String::from_utf8(secret.to_vec())
        .map(Zeroizing::new)
        .map_err(|_| CliError::usage("the password of a source is not UTF-8"))
}
