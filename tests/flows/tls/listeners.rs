//! Configures the running servers to use TLS with a certificate of the test. The test needs no access
//! to their files, whatever users they run as.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::servers::Servers;
use reqwest::Url;
use services::ports::free_address;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::Certificate;

/// Adds a listener with this certificate to the broker, and returns its port.
pub(super) async fn listen_with_tls(servers: &Servers, certificate: &Certificate) -> u16 {
    let port = free_address().port();
    let der = &certificate.der;
    let key = certificate.key.serialized_der();
    let [der, key] = [der, key].map(|bytes| BASE64_STANDARD.encode(bytes));
    let listen = format!(
        "rabbit_networking:start_ssl_listener({{\"127.0.0.1\", {port}}}, [\
            {{cert, base64:decode(\"{der}\")}},\
            {{key, {{'PrivateKeyInfo', base64:decode(\"{key}\")}}}}], 2)."
    );
    servers.rabbitmqctl(&["eval", &listen]).await;
    port
}

/// Configures Postgres to use this certificate and to accept encrypted connections only.
pub(super) async fn require_tls(database: &Url, certificate: &Certificate) {
    let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
    write_certificate(&mut connection, certificate).await;
    write(&mut connection, "pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256").await;
    for setting in ["ssl = on", "ssl_cert_file = 'test.crt'", "ssl_key_file = 'test.key'"] {
        run(&mut connection, &format!("alter system set {setting}")).await;
    }
    run(&mut connection, "select pg_reload_conf()").await;
    connection.close().await.unwrap();
}

/// Configures Postgres to use another certificate for new connections.
pub(super) async fn set_certificate(database: &Url, certificate: &Certificate) {
    let mut url = database.clone();
    url.query_pairs_mut().append_pair("sslmode", "require");
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    write_certificate(&mut connection, certificate).await;
    run(&mut connection, "select pg_reload_conf()").await;
    connection.close().await.unwrap();
}

async fn write_certificate(connection: &mut PgConnection, certificate: &Certificate) {
    write(connection, "test.crt", &certificate.pem).await;
    write(connection, "test.key", &certificate.key.serialize_pem()).await;
}

/// Writes a file into the data directory, readable by the server only.
async fn write(connection: &mut PgConnection, name: &str, text: &str) {
    run(
        connection,
        &format!(
            "copy (select unnest(string_to_array($text${text}$text$, E'\\n')))
             to program 'umask 077; cat >{name}'"
        ),
    )
    .await;
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}
