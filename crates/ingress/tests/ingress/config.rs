//! Settings: their defaults, and the errors that name a variable.

use std::fs;
use std::path::Path;

use ingress::{Clients, Config, Merchants, Networks};
use service::{SettingError, Settings};

use crate::certificates::Files;

fn config(variables: &[(&str, &str)]) -> Result<Config, SettingError> {
    Config::read(&Settings::from_lookup(|name| {
        let value = variables.iter().find(|(other, _)| *other == name);
        Ok(value.map(|(_, value)| (*value).to_owned()))
    }))
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = config(&[]).unwrap();
    assert_eq!(config.public_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(config.private_addr.to_string(), "127.0.0.1:8081");
    assert_eq!(config.broker.amqp_url.to_string(), "amqp://guest:***@127.0.0.1:5672/%2f");
    assert_eq!(config.broker.namespace.as_str(), "wxpay");
    assert!(matches!(config.merchants, Merchants::Any));
    assert!(config.clients.is_none());
    assert_eq!(config.trusted_proxies, Networks::default());
    assert!(config.public_allow.is_none());
    assert_eq!(config.public_rate.get(), 1000);
    assert!(config.public_tls.is_none() && config.private_tls.is_none());
}

#[test]
fn bad_setting_is_named_and_its_value_not_repeated() {
    for (variable, bad) in [
        ("WXPAY_AMQP_URL", "http://user:s3cret@host"),
        ("WXPAY_AMQP_URL", "amqp://user:s3cret@host:port/%2f"),
        ("WXPAY_NAMESPACE", "S3cret"),
        ("WXPAY_PUBLIC_ADDR", "s3cret"),
        ("WXPAY_PUBLIC_ADDR", ":8080"),
        ("WXPAY_PRIVATE_ADDR", "localhost:s3cret"),
        ("WXPAY_MCH_IDS", "1900000109,s3cret"),
        ("WXPAY_MCH_IDS", ""),
        ("WXPAY_CLIENTS_FILE", "/nowhere/s3cret"),
        ("WXPAY_TRUSTED_PROXIES", "s3cret"),
        ("WXPAY_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("WXPAY_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("WXPAY_TRUSTED_PROXIES", ""),
        ("WXPAY_PUBLIC_ALLOW", "203.0.113.0/24;s3cret"),
        ("WXPAY_PUBLIC_ALLOW", "203.0.113.0/33"),
        ("WXPAY_PUBLIC_RATE", "0"),
        ("WXPAY_PUBLIC_RATE", "1000001"),
        ("WXPAY_PUBLIC_RATE", "s3cret"),
        ("WXPAY_LOG", "s3cret=loud"),
    ] {
        let error = config(&[(variable, bad)]).unwrap_err();
        assert_eq!(error.variable, variable);
        let text = error.to_string();
        assert!(text.starts_with(variable) && !text.contains("3cret"), "{text}");
    }
}

#[test]
fn certificate_and_key_are_set_together() {
    let (files, _) = Files::new();
    let [cert, key] = files.settings();
    for listener in ["PUBLIC", "PRIVATE"] {
        let names: [&'static str; 2] = match listener {
            "PUBLIC" => ["WXPAY_PUBLIC_TLS_CERT", "WXPAY_PUBLIC_TLS_KEY"],
            _ => ["WXPAY_PRIVATE_TLS_CERT", "WXPAY_PRIVATE_TLS_KEY"],
        };
        let [cert_name, key_name] = names;
        let both = config(&[(cert_name, cert), (key_name, key)]).unwrap();
        assert_eq!(both.public_tls.is_some(), listener == "PUBLIC");
        assert_eq!(both.private_tls.is_some(), listener == "PRIVATE");
        assert!(!format!("{both:?}").contains("PRIVATE KEY"));
        for (variables, wrong) in [
            (vec![(cert_name, cert)], key_name),
            (vec![(key_name, key)], cert_name),
            (vec![(cert_name, "/nowhere"), (key_name, key)], cert_name),
            (vec![(cert_name, cert), (key_name, "/nowhere")], key_name),
            (vec![(cert_name, key), (key_name, key)], cert_name),
            (vec![(cert_name, cert), (key_name, cert)], key_name),
        ] {
            assert_eq!(config(&variables).unwrap_err().variable, wrong);
        }
    }
}

#[test]
fn private_address_open_to_all_needs_clients() {
    let file = format!("{}/clients-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    fs::write(&file, "[[client]]\nname = \"shop\"\nmch_ids = \"*\"\n").unwrap();
    for open in ["0.0.0.0:8081", "[::]:8081", "192.0.2.1:8081"] {
        let error = config(&[("WXPAY_PRIVATE_ADDR", open)]).unwrap_err().to_string();
        assert!(error.contains("WXPAY_PRIVATE_ADDR") && error.contains("WXPAY_CLIENTS_FILE"));
        config(&[("WXPAY_PRIVATE_ADDR", open), ("WXPAY_CLIENTS_FILE", &file)]).unwrap();
    }
    for closed in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        config(&[("WXPAY_PRIVATE_ADDR", closed)]).unwrap();
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn sample_of_the_clients_file_is_valid() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/clients.sample.toml");
    Clients::read(Path::new(sample)).unwrap();
}
