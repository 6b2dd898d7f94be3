//! The documents of the repository and the code blocks in them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block of a document.
pub struct Block {
    pub document: PathBuf,
    /// The line of its opening fence, counted from 1.
    pub line: usize,
    pub language: String,
    pub text: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.document.display(), self.line)
    }
}

/// Every Markdown file below `root`, relative to it, without what is built.
pub fn documents(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(root, Path::new(""), &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        let is_skipped = name.starts_with('.') || name == "target";
        if entry.file_type().unwrap().is_dir() && !is_skipped {
            collect(root, &path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The fenced blocks of a document.
pub fn blocks(document: &Path, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    document: document.to_owned(),
                    line: index + 1,
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}
