//! What may stand in one place only: money types, SQL, AMQP names, settings.

use std::collections::BTreeSet;
use std::path::Path;

use crate::text::{has_word, is_under, literals, none, read, sources, without_tests};

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
        let files = ["crates/worker/src/store.rs", "crates/worker/src/migrations.rs"];
        let in_a_file = files.iter().any(|file| path == Path::new(file));
        if in_a_file || is_under(&path, "crates/worker/src/store") {
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
    none("SQL stands in the store and migrations.rs of crates/worker alone", broken);
}

#[test]
fn amqp_names_live_in_the_topology() {
    let bare = ["commands", "notify", "events", "orders", "notifications", "queries", "unrouted"];
    // The crates that use a broker.
    let crates = ["broker", "ingress", "worker"].map(|name| format!("crates/{name}/src"));
    let mut broken = Vec::new();
    for path in sources() {
        let near = crates.iter().any(|name| is_under(&path, name));
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
fn metric_names_live_in_one_file() {
    let file = Path::new("crates/service/src/metrics/names.rs");
    let is_metric = |text: &String| {
        let is_program = ["wxpay_ingress", "wxpay_simulator", "wxpay_worker"].contains(&&**text);
        let rest = text.strip_prefix("wxpay_").unwrap_or_default();
        let is_name = rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        !rest.is_empty() && is_name && !is_program
    };
    let named: BTreeSet<_> = literals(&read(file)).into_iter().filter(is_metric).collect();
    let mut broken = Vec::new();
    for path in sources().iter().filter(|path| *path != file) {
        let names = literals(&without_tests(path)).into_iter().filter(is_metric);
        let unknown = names.filter(|name| !named.contains(name));
        broken.extend(unknown.map(|name| format!("{}: {name}", path.display())));
    }
    none("every metric and its HELP text stand in crates/service/src/metrics/names.rs", broken);
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
    broken.extend(idle.map(|name| format!("nothing in crates/ reads {name}")));
    none("deploy/wxpay.env.sample", broken);
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

/// In a JSON log line the text is the field `message`. A second field of that name makes two keys.
#[test]
fn log_lines_have_no_field_called_message() {
    let mut broken = Vec::new();
    for path in sources() {
        let text = read(&path);
        for (start, _) in text.match_indices("tracing::") {
            let call = &text[start..];
            let fields = &call[..call.find('"').unwrap_or(call.len())];
            let is_event = ["error!(", "warn!(", "info!(", "debug!(", "trace!("]
                .iter()
                .any(|level| fields["tracing::".len()..].starts_with(level));
            let arguments = fields.split_once('(').map_or("", |(_, arguments)| arguments);
            let mut names = arguments.split(',').map(|field| field.split('=').next().unwrap());
            if is_event && names.any(|name| name.trim().trim_start_matches(['%', '?']) == "message")
            {
                broken.push(format!("{}: {}", path.display(), fields.trim()));
            }
        }
    }
    none("no log line has a field called message beside its text", broken);
}
