//! The schema, embedded from `migrations/` at the top of the repository.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

use crate::DatabaseUrl;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Applies what is missing. Safe when several start at once, and beside the old version.
///
/// # Errors
/// When the database cannot be reached, or a migration fails; it is then not applied at all.
pub async fn migrate(database_url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(database_url.expose()).await?;
    MIGRATOR.run(&mut connection).await
}

/// How the migrations of a database stand to those of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MigrationStatus {
    /// Those of this version that were not applied.
    pub(crate) missing: usize,
    /// Those applied that this version does not know: it is the older one.
    pub(crate) unknown: usize,
}

/// Whether every migration that this version knows has been applied. A database that is ahead of
/// this version is current too: migrations are safe beside the old version.
///
/// # Errors
/// When the database cannot be asked.
pub(crate) async fn is_current(database_url: &DatabaseUrl) -> Result<bool, sqlx::Error> {
    Ok(migration_status(database_url).await?.missing == 0)
}

/// Compares what was applied with what this version knows.
///
/// # Errors
/// When the database cannot be asked.
pub(crate) async fn migration_status(
    database_url: &DatabaseUrl,
) -> Result<MigrationStatus, sqlx::Error> {
    let mut connection = PgConnection::connect(database_url.expose()).await?;
    let table: Option<String> = sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut connection)
        .await?;
    let applied: Vec<i64> = match table {
        None => Vec::new(),
        Some(_) => {
            sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&mut connection)
                .await?
        }
    };
    connection.close().await?;
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let without = |these: &[i64], those: &[i64]| {
        these.iter().filter(|version| !those.contains(version)).count()
    };
    Ok(MigrationStatus { missing: without(&known, &applied), unknown: without(&applied, &known) })
}
