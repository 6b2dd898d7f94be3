//! The roles of `deploy/postgres/roles.sql`.

use harness::World;
use harness::environment::with_user;
use harness::program::Program;
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use worker::DatabaseUrl;

/// The SQLSTATE of insufficient privilege.
const FORBIDDEN: &str = "42501";

pub(super) struct Roles {
    owner: DatabaseUrl,
    pub(super) worker: DatabaseUrl,
    pub(super) reader: DatabaseUrl,
}

impl Roles {
    /// Sets up a new database as an operator does: the roles, the migrations, the roles again.
    pub(super) async fn make(world: &World) -> Self {
        let shipped = include_str!("../../../deploy/postgres/roles.sql");
        run(world, shipped).await;
        let url = Url::parse(world.environment.database_url.expose()).unwrap();
        let [owner, worker, reader] = ["wxpay_owner", "wxpay_worker", "wxpay_reader"].map(|role| {
            let password = uuid::Uuid::new_v4().simple().to_string();
            world.add_secret(&password);
            (
                with_user(url.clone(), role, &password),
                format!("alter role {role} password '{password}'"),
            )
        });
        for (_, alter) in [&owner, &worker, &reader] {
            run(world, alter).await;
        }
        let parsed = |url: Url| DatabaseUrl::parse(url.as_str()).unwrap();
        let roles =
            Self { owner: parsed(owner.0), worker: parsed(worker.0), reader: parsed(reader.0) };
        worker::migrate(&roles.owner).await.unwrap();
        let as_migrated = privileges(world).await;
        run(world, shipped).await;
        let tables = "select tablename::text from pg_tables where schemaname = 'public'";
        let tables: Vec<String> =
            sqlx::query_scalar(tables).fetch_all(&world.environment.pool).await.unwrap();
        for table in tables {
            assert!(shipped.contains(&format!("('{table}', '")), "roles.sql leaves out {table}");
        }
        let taken_back = as_migrated.len() - privileges(world).await.len();
        assert!(taken_back > 0, "the second run must revoke the default privileges");
        roles
    }

    /// Expects that the owner owns every table and that the roles are refused everything else.
    pub(super) async fn expect_rest_refused(&self, world: &World, reads: &Program) {
        let foreign = "select count(*) from pg_class where relnamespace = 'public'::regnamespace
            and relowner <> 'wxpay_owner'::regrole";
        let foreign: i64 =
            sqlx::query_scalar(foreign).fetch_one(&world.environment.pool).await.unwrap();
        assert_eq!(foreign, 0);
        let number = "select out_trade_no from orders where state = 'paid' limit 1";
        let number: String =
            sqlx::query_scalar(number).fetch_one(&world.environment.pool).await.unwrap();
        let mch_id = "select mch_id from orders where out_trade_no = $1";
        let mch_id = sqlx::query_scalar(mch_id).bind(&number).fetch_one(&world.environment.pool);
        let mch_id: String = mch_id.await.unwrap();
        reads.run_ok(world, &["order", "explain", &mch_id, &number]).await;

        let schema = [
            "create table mine (id int)",
            "create temporary table mine (id int)",
            "create function mine() returns int language sql as 'select 1'",
            "create schema mine",
            "alter table orders add column mine int",
            "alter table orders drop constraint orders_total_fee_positive",
            "alter table order_transitions disable trigger order_transitions_append_only",
            "drop trigger order_transitions_append_only on order_transitions",
            "drop table orders cascade",
            "create index mine on orders (state)",
            "set session_replication_role = replica",
            "set role wxpay_owner",
            "create role mine",
            "copy orders to program 'true'",
            "truncate outbox",
            "truncate orders cascade",
            "insert into _sqlx_migrations values (99, '', now(), true, '', 0)",
        ];
        let history = [
            "update order_transitions set at = now()",
            "delete from order_transitions",
            "truncate order_transitions",
            "delete from orders",
            "delete from notifications",
            "delete from exceptions",
            "update rejections set at = now()",
            "update gateway_calls set at = now()",
            "update event_confirms set confirmed_at = now()",
            "update operator_actions set operator = 'intruder'",
            "delete from operator_actions",
            "delete from _sqlx_migrations",
        ];
        let writes = [
            "insert into outbox select * from outbox",
            "update orders set total_fee = 1",
            "update orders set seq = seq where false",
            "delete from outbox",
            "select * from orders for update",
        ];
        expect_refused(&self.worker, &[&schema[..], &history].concat()).await;
        expect_refused(&self.reader, &[&schema[..], &history, &writes].concat()).await;
    }
}

/// Runs SQL as the superuser of the test.
async fn run(world: &World, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&world.environment.pool).await.unwrap();
}

/// The worker's privileges, one line per table and privilege.
async fn privileges(world: &World) -> Vec<String> {
    let granted = "select table_name || ' ' || privilege_type
        from information_schema.role_table_grants where grantee = 'wxpay_worker'";
    sqlx::query_scalar(granted).fetch_all(&world.environment.pool).await.unwrap()
}

async fn expect_refused(by: &DatabaseUrl, statements: &[&str]) {
    let mut connection = PgConnection::connect(by.expose()).await.unwrap();
    for statement in statements {
        let done = sqlx::raw_sql(AssertSqlSafe(*statement)).execute(&mut connection).await;
        let code = done.map_err(|error| {
            error
                .into_database_error()
                .and_then(|error| error.code().map(std::borrow::Cow::into_owned))
        });
        assert_eq!(code.err().flatten().as_deref(), Some(FORBIDDEN), "{statement}");
    }
    connection.close().await.unwrap();
}
