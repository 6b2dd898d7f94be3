//! A database and a namespace for one test, on the servers named by `WXPAY_DATABASE_URL` and
//! `WXPAY_AMQP_URL`.

use std::net::SocketAddr;

use broker::{AmqpUrl, BrokerConfig, Namespace};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;
use worker::DatabaseUrl;

/// The database and the broker namespace of one test.
pub struct TestEnvironment {
    pub database: String,
    pub database_url: DatabaseUrl,
    /// The database from which others are created.
    admin_url: String,
    pub pool: PgPool,
    /// The broker's URL, with its password.
    pub amqp_text: String,
    pub namespace: Namespace,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests with `make test`, which provides the services")
    })
}

/// `WXPAY_AMQP_URL`, with its password.
pub fn amqp_text() -> String {
    variable("WXPAY_AMQP_URL")
}

/// The host and port in `WXPAY_AMQP_URL`.
pub fn amqp_address() -> String {
    let url = reqwest::Url::parse(&variable("WXPAY_AMQP_URL")).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672))
}

/// `WXPAY_AMQP_URL` with another address.
pub fn amqp_url_through(address: SocketAddr) -> AmqpUrl {
    let url = reqwest::Url::parse(&amqp_text()).unwrap();
    AmqpUrl::parse(with_address(url, address).as_str()).unwrap()
}

pub fn with_user(mut url: reqwest::Url, user: &str, password: &str) -> reqwest::Url {
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    url
}

pub fn with_address(mut url: reqwest::Url, address: SocketAddr) -> reqwest::Url {
    url.set_ip_host(address.ip()).unwrap();
    url.set_port(Some(address.port())).unwrap();
    url
}

impl TestEnvironment {
    /// Creates an empty database, by default on the server of `WXPAY_DATABASE_URL`.
    pub async fn create(admin_url: Option<String>) -> Self {
        let name = format!("t{}", Uuid::new_v4().simple());
        let admin_url = admin_url.unwrap_or_else(|| variable("WXPAY_DATABASE_URL"));
        let mut admin = PgConnection::connect(&admin_url).await.unwrap();
        // The name consists of hex digits.
        let create = AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();

        let mut url = reqwest::Url::parse(&admin_url).unwrap();
        url.set_path(&name);
        let database_url = DatabaseUrl::parse(url.as_str()).unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect(url.as_str()).await.unwrap();
        let namespace = Namespace::parse(&name).unwrap();
        Self { database: name, database_url, admin_url, pool, amqp_text: amqp_text(), namespace }
    }

    pub fn amqp_url(&self) -> AmqpUrl {
        AmqpUrl::parse(&self.amqp_text).unwrap()
    }

    pub fn broker_config(&self, connection_name: &str) -> BrokerConfig {
        BrokerConfig {
            amqp_url: self.amqp_url(),
            namespace: self.namespace.clone(),
            connection_name: connection_name.to_owned(),
        }
    }

    pub async fn remove(&self) {
        self.pool.close().await;
        broker::delete_topology(&self.broker_config("test clean-up")).await.unwrap();
        let mut admin = PgConnection::connect(&self.admin_url).await.unwrap();
        let drop = AssertSqlSafe(format!("drop database {} with (force)", self.database));
        sqlx::query(drop).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    }
}
