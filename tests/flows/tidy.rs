//! House rules, held by reading manifests and sources as text: no order flows here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// What design 3 allows a crate. Dependencies of its tests are its own affair.
struct Wall {
    name: &'static str,
    /// Those of ours that it may depend on.
    ours: &'static [&'static str],
    kept_from: &'static [&'static str],
    /// Whether it may speak HTTP to WeChat.
    client: bool,
}

const WALLS: [Wall; 6] = [
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
        name: "ingress",
        ours: &["orders", "broker", "wechatpay-v2"],
        kept_from: &["sqlx", "reqwest"],
        client: false,
    },
    Wall {
        name: "worker",
        ours: &["orders", "broker", "wechatpay-v2"],
        kept_from: &[],
        client: true,
    },
    Wall {
        name: "simulator",
        ours: &["wechatpay-v2"],
        kept_from: &["worker", "orders", "broker"],
        client: false,
    },
];

const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every Rust file below a folder, relative to the root.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(&name);
        if root().join(&path).is_dir() {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files
}

/// The sources of every crate, relative to the root.
fn sources() -> Vec<PathBuf> {
    let crates = names_in(Path::new("crates")).into_iter();
    let folders = crates.map(|name| Path::new("crates").join(name).join("src"));
    let folders = folders.filter(|folder| root().join(folder).is_dir());
    folders.flat_map(|folder| rust_files(&folder)).collect()
}

/// A source without the tests inside it, which stand at its end.
fn without_tests(path: &Path) -> String {
    let text = read(path);
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

fn manifest(path: impl AsRef<Path>) -> Table {
    read(path).parse().unwrap()
}

fn is_under(path: &Path, folder: &str) -> bool {
    path.starts_with(folder)
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

/// Fails with everything that was found, each on a line of its own.
fn none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

#[test]
fn the_walls_between_the_rooms_stand() {
    let rooms = names_in(Path::new("crates"));
    let rooms: Vec<_> =
        rooms.iter().filter(|name| root().join("crates").join(name).is_dir()).collect();
    let mut broken = Vec::new();
    for room in &rooms {
        if !WALLS.iter().any(|wall| wall.name == **room) {
            broken.push(format!("crates/{room} is in no wall of this test"));
        }
    }
    for wall in &WALLS {
        let name = wall.name;
        let manifest = manifest(format!("crates/{name}/Cargo.toml"));
        for (dependency, entry) in dependencies(&manifest) {
            let is_ours = rooms.iter().any(|room| **room == dependency) || dependency == "tests";
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
    none("walls of design 3", broken);
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
        broken.push("the workspace gives everybody a feature of it".to_owned());
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

#[test]
fn money_is_no_float() {
    let mut broken = Vec::new();
    for path in sources() {
        let pure = is_under(&path, "crates/orders") || is_under(&path, "crates/wechatpay-v2");
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let float = has_word(code, "f32") || has_word(code, "f64");
            let lower = code.to_lowercase();
            let money =
                ["fee", "fen", "amount", "price", "money"].iter().any(|word| lower.contains(word));
            if float && (pure || money) {
                broken.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none("no f32 and f64 near money", broken);
}

#[test]
fn sql_lives_in_the_store() {
    let mut broken = Vec::new();
    for path in sources() {
        let allowed = is_under(&path, "crates/worker/src/store")
            || path == Path::new("crates/worker/src/migrations.rs");
        if allowed {
            continue;
        }
        for literal in literals(&without_tests(&path)) {
            let words: Vec<_> = literal.split_whitespace().collect();
            let text = format!(" {} ", words.join(" ").to_lowercase());
            let verbs = [" select ", " insert ", " update ", " delete from "];
            if verbs.iter().any(|verb| text.contains(verb)) {
                broken.push(format!("{}: {literal:?}", path.display()));
            }
        }
    }
    none("SQL stands in crates/worker/src/store and migrations.rs alone", broken);
}

#[test]
fn amqp_names_live_in_the_topology() {
    let bare = ["commands", "notify", "events", "orders", "notifications", "queries", "unrouted"];
    // The rooms that come near a broker.
    let rooms = ["broker", "ingress", "worker"].map(|room| format!("crates/{room}/src"));
    let mut broken = Vec::new();
    for path in sources() {
        let near = rooms.iter().any(|room| is_under(&path, room));
        let text = path.to_string_lossy().into_owned();
        if !near || text.starts_with("crates/broker/src/topology") {
            continue;
        }
        for literal in literals(&without_tests(&path)) {
            let qualified = |name| literal.contains(&format!("wxpay.{name}"));
            let is_name = bare.contains(&literal.as_str())
                || bare.iter().any(qualified)
                || [".parked", ".delay.", ".unrouted"].iter().any(|part| literal.contains(part));
            if is_name {
                broken.push(format!("{text}: {literal:?}"));
            }
        }
    }
    none("names of queues and exchanges stand in the topology alone", broken);
}

#[test]
fn every_setting_is_in_the_sample_and_every_sample_is_a_setting() {
    let read_here: BTreeSet<_> =
        sources().iter().flat_map(|path| settings(&without_tests(path))).collect();
    let sample = read("deploy/wxpay.env.sample");
    let assigned = sample
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ']))
        .filter_map(|line| line.split_once('='));
    let sampled: BTreeSet<_> = assigned
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("WXPAY_"))
        .collect();
    let missing = read_here.difference(&sampled);
    let idle = sampled.difference(&read_here);
    let mut broken: Vec<_> = missing.map(|name| format!("{name} is missing")).collect();
    broken.extend(idle.map(|name| format!("nobody in crates/ reads {name}")));
    none("deploy/wxpay.env.sample", broken);
}

#[test]
fn the_map_of_the_rooms_shows_every_room() {
    let map = read("crates/README.md");
    let rooms = names_in(Path::new("crates")).into_iter();
    let rooms = rooms.filter(|name| root().join("crates").join(name).is_dir());
    let missing = rooms.filter(|room| !map.contains(&format!("`{room}`")));
    none("crates/README.md names each room, in backticks", missing.collect());
}

#[test]
fn nothing_is_left_half_done() {
    // In two pieces, or this file would be guilty.
    let marks = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
        concat!("db", "g!("),
    ];
    let mut found = Vec::new();
    let everywhere = ["crates", "tests"].map(|folder| rust_files(Path::new(folder)));
    for path in everywhere.into_iter().flatten() {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none("nothing half done, no test left out", found);
}

#[test]
fn a_source_fits_a_sitting() {
    let long = sources().into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    let rule = format!("no source is longer than {FILE_LINES_MAX} lines");
    none(&rule, long.collect());
}

#[test]
fn the_top_level_holds_what_the_design_lists() {
    let listed = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "README.md",
        "clippy.toml",
        "crates",
        "deny.toml",
        "deploy",
        "migrations",
        "rust-toolchain.toml",
        "rustfmt.toml",
        "tests",
    ];
    let ignored: BTreeSet<_> =
        read(".gitignore").lines().map(|line| line.trim_matches('/').to_owned()).collect();
    let strangers = names_in(Path::new("")).into_iter().filter(|name| {
        !name.starts_with('.') && !listed.contains(&name.as_str()) && !ignored.contains(name)
    });
    none("design 3 knows no such thing at the top", strangers.collect());
}

/// Whether a word stands in a line, as a word.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// The names of settings in a text.
fn settings(text: &str) -> Vec<String> {
    const PREFIX: &str = "WXPAY_";
    let part = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let names = text.match_indices(PREFIX).map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest.find(part).unwrap_or(rest.len())]
    });
    let names = names.filter(|name| name.len() > PREFIX.len() && !name.ends_with('_'));
    names.map(str::to_owned).collect()
}

/// The string literals of a source, raw ones included, without those in comments.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(closing) = raw_closing(rest) {
            let begin = closing.len() + 1;
            let end = rest[begin..].find(&closing).map_or(rest.len(), |at| begin + at);
            found.push(rest[begin..end].to_owned());
            (end + closing.len()).min(rest.len())
        } else if next == '"' {
            let length = quoted(&rest[1..]);
            found.push(rest[1..=length].to_owned());
            (length + 2).min(rest.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") {
            rest.find("\"'").map_or(rest.len(), |at| at + 2)
        } else if rest.starts_with("'\\") {
            // An escaped character: its quote may be the character itself.
            3.min(rest.len())
        } else {
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    found
}

/// What ends the raw literal that begins here, if one does: its quote and its hashes.
fn raw_closing(text: &str) -> Option<String> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.find(|c| c != '#')?;
    hashes[count..].starts_with('"').then(|| {
        let mut closing = String::from("\"");
        closing.push_str(&"#".repeat(count));
        closing
    })
}

/// How long a literal is whose opening quote was just read.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[test]
fn literals_are_found_wherever_they_stand() {
    let source = r##"
        // "a comment" it's
        /* "another" */
        let a = "plain"; let q = '"'; let b = b"bytes"; let e = '\''; let f = b'"';
        let c = r#"raw "quotes" inside"#; let d = "es\"caped\\"; let g: &'static str = "last";
    "##;
    let expected = ["plain", "bytes", "raw \"quotes\" inside", "es\\\"caped\\\\", "last"];
    assert_eq!(literals(source), expected);
}
