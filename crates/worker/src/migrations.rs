//! The database schema, embedded from the folder `migrations`.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

use crate::config::DatabaseUrl;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Applies the missing migrations. Several processes may do so at once, and workers of the old
/// version may run meanwhile.
///
/// # Errors
/// When the database cannot be reached, or when a migration fails, which then changes nothing.
pub async fn migrate(database_url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut connection = PgConnection::connect(database_url.expose()).await?;
    MIGRATOR.run(&mut connection).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MigrationStatus {
    /// Migrations of this version that are not applied.
    pub(crate) missing: usize,
    /// Applied migrations that this version does not know: the database is ahead.
    pub(crate) unknown: usize,
}

/// Whether every migration of this version is applied. A database that is ahead is current, too:
/// migrations are compatible with workers of the old version.
pub(crate) async fn is_current(database_url: &DatabaseUrl) -> Result<bool, sqlx::Error> {
    Ok(migration_status(database_url).await?.missing == 0)
}

pub(crate) async fn migration_status(
    database_url: &DatabaseUrl,
) -> Result<MigrationStatus, sqlx::Error> {
    let mut connection = PgConnection::connect(database_url.expose()).await?;
    let table: Option<String> = sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut connection)
        .await?;
    let applied: Vec<i64> = if table.is_some() {
        sqlx::query_scalar("select version from _sqlx_migrations where success")
            .fetch_all(&mut connection)
            .await?
    } else {
        Vec::new()
    };
    connection.close().await?;
    let known: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    let without = |these: &[i64], those: &[i64]| {
        these.iter().filter(|version| !those.contains(version)).count()
    };
    Ok(MigrationStatus { missing: without(&known, &applied), unknown: without(&applied, &known) })
}
