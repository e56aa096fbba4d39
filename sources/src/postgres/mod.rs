//! PostgreSQL: databases saved while they work, rebuilt beside the live ones and switched in by name.

mod capture;
mod catalog;
mod client;
mod emit;
mod error;
mod facts;
mod large_objects;
mod layout;
mod names;
mod passfile;
mod roles;
mod rows;
mod schema;
mod settings;
mod sql;
mod tls;
mod wire;

pub use capture::PostgresSource;
pub use settings::{Databases, Host, PostgresEnvironment, PostgresSettings, SslMode, Timeouts};

/// Kind of the source, and scheme of its URLs.
pub const KIND: &str = "postgres";
