//! Reads the files of the repository as text.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every Rust file below a folder, relative to the root.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files_with_ending(folder, ".rs")
}

/// Every Rust file, tests included.
pub(crate) fn all_rust_files() -> Vec<PathBuf> {
    ["crates", "tests"].iter().flat_map(|folder| rust_files(Path::new(folder))).collect()
}

/// Every file below a folder whose name ends like this, relative to the root, but no build output:
/// tests/fuzz, a workspace of its own, may have a folder `target`.
pub(crate) fn files_with_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for name in names_in(folder) {
        let path = folder.join(&name);
        if name == "target" {
            continue;
        }
        if root().join(&path).is_dir() {
            files.extend(files_with_ending(&path, ending));
        } else if name.ends_with(ending) {
            files.push(path);
        }
    }
    files
}

/// The sources of every crate, relative to the root.
pub(crate) fn sources() -> Vec<PathBuf> {
    let crates = names_in(Path::new("crates")).into_iter();
    let folders = crates.map(|name| Path::new("crates").join(name).join("src"));
    let folders = folders.filter(|folder| root().join(folder).is_dir());
    folders.flat_map(|folder| rust_files(&folder)).collect()
}

/// A source without the tests inside it, which stand at its end.
pub(crate) fn without_tests(path: &Path) -> String {
    let text = read(path);
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

pub(crate) fn manifest(path: impl AsRef<Path>) -> Table {
    read(path).parse().unwrap()
}

pub(crate) fn is_under(path: &Path, folder: &str) -> bool {
    path.starts_with(folder)
}

/// Fails with everything that was found, each on a line of its own.
pub(crate) fn none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

/// Whether a word stands in a line, as a word.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

/// A source without comments and without what stands in string literals.
pub(crate) fn code(source: &str) -> String {
    let mut code = String::new();
    for line in source.lines() {
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    for literal in literals(source).iter().filter(|literal| !literal.is_empty()) {
        code = code.replace(&format!("\"{literal}\""), "\"\"");
    }
    code
}

/// The string literals of a source, raw ones included, without those in comments.
pub(crate) fn literals(source: &str) -> Vec<String> {
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
