//! What the documents say exists: files, headings, make targets. Their blocks parse, and no comment
//! points to a page that the repository does not hold. Blocks that run are run by `flows`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::markdown::{Block, blocks, documents};

use crate::text::{all_rust_files, names_in, none, read, root};

const README_LINES_MAX: usize = 150;
const LANGUAGES: [&str; 8] = ["json", "python", "rust", "sh", "sql", "text", "toml", "xml"];

fn all_blocks() -> Vec<Block> {
    documents(&root()).iter().flat_map(|path| blocks(path, &read(path))).collect()
}

#[test]
fn readme_has_at_most_150_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines: the rest belongs elsewhere");
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for document in documents(&root()) {
        let text = read(&document);
        for target in link_targets(&text) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let folder = document.parent().unwrap_or(Path::new(""));
            let path = if file.is_empty() { document.clone() } else { folder.join(file) };
            if !root().join(&path).exists() {
                broken.push(format!("{}: {target}", document.display()));
            } else if !heading.is_empty() && !headings(&read(&path)).contains(heading) {
                broken.push(format!("{}: {target} has no such heading", document.display()));
            }
        }
    }
    none("links of the documents", broken);
}

/// The targets of the links of a document that lead into the repository.
fn link_targets(text: &str) -> Vec<String> {
    let outside_code: Vec<&str> = text.split("```").step_by(2).collect();
    let targets = outside_code.iter().flat_map(|part| {
        part.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned)
    });
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of a document's headings, as the usual renderers make them.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| -> String {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines.map(anchor).collect()
}

#[test]
fn blocks_name_their_language_and_parse() {
    let mut broken = Vec::new();
    for block in all_blocks() {
        // What follows the language says which test reads the block.
        let language = block.language.split(' ').next().unwrap_or_default();
        let problem = match language {
            "json" => serde_json::from_str::<serde_json::Value>(&block.text)
                .err()
                .map(|error| error.to_string()),
            "toml" => block.text.parse::<toml::Table>().err().map(|error| error.to_string()),
            "sh" => parse_with("bash", &["-n"], &block.text),
            language if LANGUAGES.contains(&language) => None,
            language => Some(format!("{language:?} is none of {LANGUAGES:?}")),
        };
        broken.extend(problem.map(|problem| format!("{block}: {problem}")));
    }
    none("blocks of the documents", broken);
}

/// What a program says against a text on its standard input.
fn parse_with(program: &str, arguments: &[&str], text: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn commands_name_targets_and_files_that_exist() {
    let makefile = read("Makefile");
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap();
    let targets: BTreeSet<&str> = phony.split_whitespace().collect();
    let mut broken = Vec::new();
    let shell = all_blocks().into_iter().filter(|block| block.language == "sh");
    let shell = shell.map(|block| (block.document.clone(), block.text));
    let inline = documents(&root()).into_iter().flat_map(|path| {
        let code = inline_code(&read(&path)).into_iter();
        code.map(move |code| (path.clone(), code))
    });
    for (document, text) in shell.chain(inline) {
        let place = document.display();
        let folder = document.parent().unwrap_or(Path::new(""));
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let make = words.windows(2).filter(|pair| pair[0] == "make");
            let unknown = make.filter(|pair| {
                pair[1].chars().all(|c| c.is_ascii_lowercase()) && !targets.contains(pair[1])
            });
            broken.extend(unknown.map(|pair| format!("{place}: make {}", pair[1])));
            let files = words.iter().filter(|word| {
                ["deploy/", "tests/", "crates/"].iter().any(|folder| word.starts_with(folder))
            });
            let folders = [Path::new(""), folder];
            let is_there =
                |file: &str| folders.iter().any(|it| root().join(it).join(file).exists());
            let missing = files.filter(|file| !file.contains('*') && !is_there(file));
            broken.extend(missing.map(|file| format!("{place}: {file}")));
        }
    }
    none("commands in the documents", broken);
}

/// What stands between single backticks.
fn inline_code(text: &str) -> Vec<String> {
    let outside_blocks: String = text.split("```").step_by(2).collect();
    outside_blocks.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn comments_cite_only_pages_of_this_repository() {
    let mut broken = Vec::new();
    let migrations = names_in(Path::new("migrations")).into_iter();
    let migrations = migrations.map(|name| Path::new("migrations").join(name));
    let pages = all_rust_files().into_iter().chain(migrations).chain(documents(&root()));
    // This file has to name them.
    for path in pages.filter(|path| path != Path::new("tests/tidy/documents.rs")) {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            if let Some(page) = absent_page(&path, line) {
                broken.push(format!("{}:{}: {page}", path.display(), number + 1));
            }
        }
    }
    none("a reader cannot open these pages", broken);
}

/// A page that a line cites and that is not there.
fn absent_page(path: &Path, line: &str) -> Option<String> {
    const OUTSIDE: [&str; 5] = ["design", "reference", "engineering", "house", "operate"];
    let lower = line.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !(c.is_alphanumeric() || c == '.'))
        .filter(|w| !w.is_empty())
        .collect();
    let by_number = words.windows(2).find(|pair| {
        let page = pair[0].trim_end_matches(".md");
        let place = pair[1];
        OUTSIDE.contains(&page)
            && (place.starts_with(|c: char| c.is_ascii_digit())
                || ["section", "finding", "decision"].contains(&place))
    });
    if let Some(pair) = by_number {
        return Some(pair.join(" "));
    }
    let named = line.split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)));
    let mut markdown = named.filter(|word| word.ends_with(".md") && word.len() > ".md".len());
    markdown.find(|word| !exists(path, word)).map(str::to_owned)
}

/// Whether a page is there: from the root, from the crates, or from the folder of who cites it.
fn exists(path: &Path, page: &str) -> bool {
    let folders = path.ancestors().skip(1).map(PathBuf::from);
    let folders = folders.chain([PathBuf::from("crates")]);
    folders.map(|folder| root().join(folder).join(page)).any(|file| file.is_file())
}
