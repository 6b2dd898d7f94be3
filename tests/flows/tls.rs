//! TLS to the broker and the database with a private authority: an order is paid, and a server
//! without a valid certificate is refused with a reason.

mod certificates;
mod listeners;

use std::fs;
use std::path::PathBuf;

use broker::AmqpUrl;
use harness::program::Program;
use harness::servers::{Server, Servers};
use harness::{Options, Shop, World, eventually};
use reqwest::Url;
use simulator::PayOptions;
use uuid::Uuid;

use certificates::{Authority, Certificate};
use listeners::{listen_with_tls, require_tls, set_certificate};

/// A folder with the CA certificates of the clients.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("wxpay-tls-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, authority: &Authority) -> String {
        let path = self.0.join(name);
        fs::write(&path, authority.pem()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server's URL with the host name of its certificate and these parameters.
fn named(mut url: Url, parameters: &[(&str, &str)]) -> Url {
    url.set_host(Some("localhost")).unwrap();
    url.query_pairs_mut().clear().extend_pairs(parameters);
    url
}

#[tokio::test]
async fn servers_of_private_authority_are_trusted_others_refused() {
    let servers = Servers::start().await;
    let authority = Authority::new();
    let other_authority = Authority::new();
    let folder = Folder::new();
    let ca = folder.write("ca.pem", &authority);
    let wrong_ca = folder.write("wrong.pem", &other_authority);
    let good = authority.certificate_for("localhost");
    let database = servers.url(Server::Postgres);
    require_tls(&database, &good).await;
    let checked = |ca: &str| [("sslmode", "verify-full"), ("sslrootcert", ca)].map(owned);
    let database_at = |parameters: &[(String, String)]| {
        let parameters: Vec<_> = parameters.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        named(database.clone(), &parameters).to_string()
    };
    let broker = servers.url(Server::RabbitMq);
    let broker_at = |port: u16, ca: &str| {
        let mut url = named(broker.clone(), &[("cacertfile", ca)]).to_string();
        url = url.replacen("amqp://", "amqps://", 1);
        let mut url = Url::parse(&url).unwrap();
        url.set_port(Some(port)).unwrap();
        url.to_string()
    };

    // An order is paid, and every connection is encrypted.
    let port = listen_with_tls(&servers, &good).await;
    let amqp_url = AmqpUrl::parse(&broker_at(port, &ca)).unwrap();
    let mut world = World::start_with(Options {
        amqp_text: Some(broker.to_string()),
        database_admin_url: Some(database_at(&checked(&ca))),
        ingress_amqp_url: Some(amqp_url.clone()),
        ..Options::default()
    })
    .await;
    let database_url = world.environment.database_url.clone();
    world.restart_workers_as(amqp_url, database_url).await;
    world.wait_until_ingress_ready().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let plain = "select count(*) filter (where not ssl), count(*) from pg_stat_ssl
        join pg_stat_activity using (pid) where application_name = 'wxpay-worker'";
    let (plain, all): (i64, i64) =
        sqlx::query_as(plain).fetch_one(&world.environment.pool).await.unwrap();
    assert!(plain == 0 && all > 0, "{plain} of {all} connections to Postgres are not encrypted");
    let connections = servers.rabbitmqctl(&["list_connections", "client_properties", "ssl"]).await;
    let encrypted = |name: &str| {
        let lines = connections.lines().filter(|line| line.contains(name));
        lines.map(|line| line.ends_with("true")).collect::<Vec<_>>()
    };
    assert_eq!(encrypted("wxpay-worker"), [true; 3], "{connections}");
    assert_eq!(encrypted("wxpay-ingress"), [true], "{connections}");

    let mut program = Program::of(&world);
    program.set("WXPAY_DATABASE_URL", world.environment.database_url.expose());
    program.set("WXPAY_AMQP_URL", broker_at(port, &ca));
    let listen = ["events", "listen", "--out-trade-no", "X", "--until", "order.paid"];
    let listen = [&listen[..], &["--timeout", "1"]].concat();
    let explain = ["order", "explain", &shop.mch_id, &number];
    assert!(program.run_expecting_failure(&world, &listen).await.contains("READY"));
    program.run_ok(&world, &explain).await;

    // The broker's certificate is invalid.
    let expired = authority.certificate_until("localhost", 2001);
    let other = authority.certificate_for("elsewhere.example");
    for (certificate, ca, why) in [
        (&good, &wrong_ca, "UnknownIssuer"),
        (&expired, &ca, "certificate expired"),
        (&other, &ca, "certificate not valid for name \"localhost\""),
    ] {
        let port = listen_with_tls(&servers, certificate).await;
        program.set("WXPAY_AMQP_URL", broker_at(port, ca));
        let output = program.run_expecting_failure(&world, &listen).await;
        assert!(output.contains(why) && output.contains("amqps://"), "{why}: {output}");
    }
    let port = listen_with_tls(&servers, &good).await;
    let of_the_system = broker_at(port, &ca).split_once('?').unwrap().0.to_owned();
    program.set("WXPAY_AMQP_URL", of_the_system);
    let output = program.run_expecting_failure(&world, &listen).await;
    assert!(output.contains("UnknownIssuer"), "{output}");

    // The database's certificate is invalid.
    let here = Url::parse(world.environment.database_url.expose()).unwrap();
    let at = |parameters: &[(&str, &str)]| named(here.clone(), parameters).to_string();
    let verified = |ca: &str| at(&[("sslmode", "verify-full"), ("sslrootcert", ca)]);
    for (certificate, url, why) in [
        (&good, verified(&wrong_ca), "UnknownIssuer"),
        (&expired, verified(&ca), "certificate expired"),
        (&other, verified(&ca), "certificate not valid for name \"localhost\""),
        (&good, at(&[("sslmode", "disable")]), "no encryption"),
    ] {
        set_certificate(&database, certificate).await;
        program.set("WXPAY_DATABASE_URL", url);
        let output = program.run_expecting_failure(&world, &explain).await;
        assert!(output.contains(why), "{why}: {output}");
    }

    // A worker logs both reasons and waits.
    program.set("WXPAY_AMQP_URL", broker_at(port, &wrong_ca));
    program.set("WXPAY_DATABASE_URL", verified(&wrong_ca));
    let worker = program.spawn_worker("");
    eventually("both reasons", async || {
        (worker.log().matches("UnknownIssuer").count() >= 2).then_some(())
    })
    .await;
    let log = worker.stop().await;
    let lines = world.lines_with_secrets(log.lines()).await;
    assert!(lines.is_empty(), "{lines:#?}");
    world.finish().await;
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
