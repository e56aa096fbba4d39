//! PostgreSQL: databases saved while they work, rebuilt beside the live ones and switched in by name.

mod capture;
mod catalog;
mod client;
mod emit;
mod error;
mod export;
mod facts;
mod large_objects;
mod layout;
mod names;
mod options;
mod passfile;
mod plan;
mod rebuild;
mod roles;
mod rows;
mod schema;
mod settings;
mod sql;
mod stage;
mod switch;
mod tls;
mod validate;
mod wire;

pub use capture::PostgresSource;
pub use export::PostgresExport;
pub use options::PostgresRestoreOptions;
pub use rebuild::PostgresTarget;
pub use settings::{Databases, Host, PostgresEnvironment, PostgresSettings, SslMode, Timeouts};

/// Kind of the source, and scheme of its URLs.
pub const KIND: &str = "postgres";
