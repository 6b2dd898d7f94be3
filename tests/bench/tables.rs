//! The tables of the system, as the database describes them.

use anyhow::Result;
use sqlx::postgres::PgConnection;

/// A table that the system writes, and its columns without those that Postgres fills.
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) uuids: Vec<String>,
    pub(crate) byteas: Vec<String>,
    /// As in `create table`, such as `fillfactor=80`.
    pub(crate) storage: Vec<String>,
}

impl Table {
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|it| it == column)
    }
}

#[derive(sqlx::FromRow)]
struct Column {
    table_name: String,
    column_name: String,
    data_type: String,
    storage: Option<Vec<String>>,
}

/// All tables; a partitioned one without its partitions. A table comes before those that refer to
/// it.
pub(crate) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>> {
    let columns: Vec<Column> = sqlx::query_as(
        "select c.relname::text as table_name, a.attname::text as column_name,
             format_type(a.atttypid, null) as data_type, c.reloptions as storage
         from pg_class c
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
             and not c.relispartition and left(c.relname, 1) <> '_'
             and a.attidentity = '' and a.attgenerated = ''
         order by (select count(*) from pg_constraint f
                 where f.conrelid = c.oid and f.contype = 'f'), c.oid, a.attnum",
    )
    .fetch_all(connection)
    .await?;
    let mut tables: Vec<Table> = Vec::new();
    for column in columns {
        if tables.last().is_none_or(|table| table.name != column.table_name) {
            tables.push(Table {
                name: column.table_name,
                columns: Vec::new(),
                uuids: Vec::new(),
                byteas: Vec::new(),
                storage: column.storage.unwrap_or_default(),
            });
        }
        let Some(table) = tables.last_mut() else { continue };
        match &*column.data_type {
            "uuid" => table.uuids.push(column.column_name.clone()),
            "bytea" => table.byteas.push(column.column_name.clone()),
            _ => {}
        }
        table.columns.push(column.column_name);
    }
    Ok(tables)
}
