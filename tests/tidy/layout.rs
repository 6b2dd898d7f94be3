//! The shape of the repository: its top level, the size of its files, the length of its names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::text::{names_in, none, read, root, rust_files, sources};

const FILE_LINES_MAX: usize = 500;

/// Every Rust file, tests included.
fn all_rust_files() -> Vec<PathBuf> {
    ["crates", "tests"].iter().flat_map(|folder| rust_files(Path::new(folder))).collect()
}

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
fn sources_have_at_most_500_lines() {
    let long = sources().into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    none("a file holds one idea", long.collect());
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
