//! Which crate may depend on which, and what each is kept away from.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use crate::text::{is_under, manifest, names_in, none, root, sources, without_tests};

/// What a crate may be built with. Dependencies of its tests are not restricted.
struct Wall {
    name: &'static str,
    /// Crates of this workspace that it may depend on.
    ours: &'static [&'static str],
    kept_from: &'static [&'static str],
    /// Whether it may enable the HTTP client of `wechatpay-v2`.
    client: bool,
}

const WALLS: [Wall; 7] = [
    Wall {
        name: "wechatpay-v2",
        ours: &[],
        kept_from: &["tokio", "sqlx", "lapin", "axum"],
        client: false,
    },
    Wall {
        name: "orders",
        ours: &["wechatpay-v2"],
        kept_from: &["tokio", "sqlx", "lapin", "reqwest", "axum"],
        client: false,
    },
    Wall {
        name: "broker",
        ours: &["orders"],
        kept_from: &["sqlx", "reqwest", "axum"],
        client: false,
    },
    Wall {
        name: "service",
        ours: &["wechatpay-v2"],
        kept_from: &["sqlx", "lapin", "reqwest"],
        client: false,
    },
    Wall {
        name: "ingress",
        ours: &["orders", "broker", "service", "wechatpay-v2"],
        kept_from: &["sqlx", "reqwest"],
        client: false,
    },
    Wall {
        name: "worker",
        ours: &["orders", "broker", "service", "wechatpay-v2"],
        kept_from: &[],
        client: true,
    },
    Wall {
        name: "simulator",
        ours: &["service", "wechatpay-v2"],
        kept_from: &["worker", "orders", "broker"],
        client: false,
    },
];

#[test]
fn crates_depend_only_on_what_their_wall_allows() {
    let crates = names_in(Path::new("crates"));
    let crates: Vec<_> =
        crates.iter().filter(|name| root().join("crates").join(name).is_dir()).collect();
    let mut broken = Vec::new();
    for name in &crates {
        if !WALLS.iter().any(|wall| wall.name == **name) {
            broken.push(format!("crates/{name} is in no wall of this test"));
        }
    }
    for wall in &WALLS {
        let name = wall.name;
        let manifest = manifest(format!("crates/{name}/Cargo.toml"));
        for (dependency, entry) in dependencies(&manifest) {
            let is_ours = crates.iter().any(|name| **name == dependency) || dependency == "tests";
            if is_ours && !wall.ours.contains(&dependency.as_str()) {
                broken.push(format!("{name} may not depend on our {dependency}"));
            }
            if wall.kept_from.contains(&dependency.as_str()) {
                broken.push(format!("{name} is kept away from {dependency}"));
            }
            let has_client = features(&entry).contains(&"client");
            if dependency == "wechatpay-v2" && has_client && !wall.client {
                broken.push(format!("{name} may not have wechatpay-v2's feature client"));
            }
        }
    }
    none("walls between the crates", broken);
}

#[test]
fn wechatpay_has_no_network_without_its_feature_client() {
    let manifest = manifest("crates/wechatpay-v2/Cargo.toml");
    let dependencies = dependencies(&manifest);
    let mut broken = Vec::new();
    for name in ["reqwest", "rustls"] {
        let optional = dependencies.get(name).and_then(|entry| entry.get("optional"));
        if optional.and_then(Value::as_bool) != Some(true) {
            broken.push(format!("{name} is not optional"));
        }
    }
    for (feature, parts) in manifest["features"].as_table().unwrap() {
        for part in parts.as_array().unwrap().iter().filter_map(Value::as_str) {
            let network = ["reqwest", "rustls", "client"]
                .iter()
                .any(|name| part.trim_start_matches("dep:").starts_with(name));
            if feature != "client" && network {
                broken.push(format!("the feature {feature} brings {part}"));
            }
        }
    }
    let workspace = self::manifest("Cargo.toml");
    let entry = &workspace["workspace"]["dependencies"]["wechatpay-v2"];
    if !features(entry).is_empty() {
        broken.push("the workspace enables a feature of it for every crate".to_owned());
    }
    none("wechatpay-v2 without `client` has no network", broken);
}

#[test]
fn the_ingress_holds_no_key_and_the_worker_serves_no_shop() {
    let mut broken = Vec::new();
    for path in sources() {
        let text = without_tests(&path);
        let file = path.display();
        if is_under(&path, "crates/ingress") {
            for word in ["ApiKey", "api_key", "Credentials", "MERCHANTS_FILE"] {
                if text.contains(word) {
                    broken.push(format!("{file} speaks of {word}"));
                }
            }
        }
        if is_under(&path, "crates/worker") {
            let routes = text.split(".route(").skip(1);
            let routes = routes.filter_map(|rest| rest.trim_start().strip_prefix('"'));
            for route in routes.filter_map(|rest| rest.split('"').next()) {
                if !["/healthz", "/readyz", "/metrics"].contains(&route) {
                    broken.push(format!("{file} serves {route}"));
                }
            }
        }
    }
    none("the ingress knows no keys, the worker no shops", broken);
}

/// What a crate is built with, tests aside: each dependency with its entry.
fn dependencies(manifest: &Table) -> BTreeMap<String, Value> {
    let mut sections: Vec<&Table> = vec![manifest];
    if let Some(Value::Table(targets)) = manifest.get("target") {
        sections.extend(targets.values().filter_map(Value::as_table));
    }
    let kinds = ["dependencies", "build-dependencies"];
    let tables = sections
        .into_iter()
        .flat_map(|section| kinds.map(|kind| section.get(kind).and_then(Value::as_table)));
    tables
        .flatten()
        .flat_map(|table| table.clone())
        // A dependency may go by another name here than in the registry.
        .map(|(name, entry)| match entry.get("package") {
            Some(Value::String(package)) => (package.clone(), entry),
            _ => (name, entry),
        })
        .collect()
}

fn features(entry: &Value) -> Vec<&str> {
    let features = entry.get("features").and_then(Value::as_array);
    let features = features.map_or(&[][..], Vec::as_slice);
    features.iter().filter_map(Value::as_str).collect()
}
