//! The shape of the repository: its top level, the size of its files, the length of its names.

use std::collections::BTreeSet;
use std::path::Path;

use crate::text::{all_rust_files, files_with_ending, names_in, none, read, root};

const FILE_LINES_MAX: usize = 500;
const TEST_NAME_CHARS_MAX: usize = 60;

#[test]
fn crates_readme_names_every_crate() {
    let readme = read("crates/README.md");
    let crates = names_in(Path::new("crates")).into_iter();
    let crates = crates.filter(|name| root().join("crates").join(name).is_dir());
    let missing = crates.filter(|name| !readme.contains(&format!("`{name}`")));
    none("crates/README.md names each crate, in backticks", missing.collect());
}

#[test]
fn nothing_is_left_half_done() {
    // In two pieces, so that this file does not contain them.
    let marks = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
        concat!("db", "g!("),
    ];
    let mut found = Vec::new();
    for path in all_rust_files() {
        for (number, line) in read(&path).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    none("nothing half done, no test left out", found);
}

#[test]
fn rust_files_have_at_most_500_lines() {
    let long = all_rust_files().into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    none("a file holds one idea", long.collect());
}

#[test]
fn test_names_have_at_most_60_characters() {
    let mut long = Vec::new();
    for path in all_rust_files() {
        let text = read(&path);
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.trim_start_matches("async ").strip_prefix("fn ") {
                let name = name.split('(').next().unwrap_or_default();
                if is_test && name.chars().count() > TEST_NAME_CHARS_MAX {
                    long.push(format!("{}: {name}", path.display()));
                }
            }
            is_test = line.ends_with("test]") || (is_test && line.starts_with(['#', '/']));
        }
    }
    none("the name of a test says its subject and its condition", long);
}

#[test]
fn top_level_holds_only_what_is_listed() {
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
    let others = names_in(Path::new("")).into_iter().filter(|name| {
        !name.starts_with('.') && !listed.contains(&name.as_str()) && !ignored.contains(name)
    });
    none("nothing else stands at the top", others.collect());
}

const SHELL_LINES_MAX: usize = 300;

#[test]
fn shell_has_at_most_300_lines() {
    let mut scripts = vec![".ci/run".into()];
    for folder in ["deploy", "tests"] {
        scripts.extend(files_with_ending(Path::new(folder), ".sh"));
    }
    let lines: usize = scripts.iter().map(|path| read(path).lines().count()).sum();
    assert!(lines <= SHELL_LINES_MAX, "{lines} lines of shell: what is longer is written in Rust");
}
