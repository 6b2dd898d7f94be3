//! Servers that speak TLS with a certificate of the test's. Both are told so while they run: no
//! file of theirs needs to be reached from here, whoever they run as.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use harness::servers::Servers;
use reqwest::Url;
use services::ports::free_address;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::Certificate;

/// Has the broker listen once more, with this certificate, and returns the port.
pub(super) async fn amqps(servers: &Servers, certificate: &Certificate) -> u16 {
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

/// Has Postgres present this certificate, and take no connection but encrypted ones.
pub(super) async fn demand_tls(database: &Url, certificate: &Certificate) {
    let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
    write_certificate(&mut connection, certificate).await;
    write(&mut connection, "pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256").await;
    for setting in ["ssl = on", "ssl_cert_file = 'test.crt'", "ssl_key_file = 'test.key'"] {
        run(&mut connection, &format!("alter system set {setting}")).await;
    }
    run(&mut connection, "select pg_reload_conf()").await;
    connection.close().await.unwrap();
}

/// Has Postgres present another certificate, whoever connects from now on.
pub(super) async fn present(database: &Url, certificate: &Certificate) {
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

/// Writes a file of the data directory, for the server's eyes only.
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
