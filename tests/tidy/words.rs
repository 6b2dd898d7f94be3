//! Words that are gone, because a reader who knows AMQP, Postgres and payments cannot guess them.

use std::path::Path;

use harness::markdown::documents;

use crate::text::{all_rust_files, files_with_ending, none, read, root};

/// Each with the field's word for it. An identifier counts by its parts, and in lower case.
const GONE: [(&str, &str); 49] = [
    ("aloof", "idle"),
    ("anybody", "name the actor"),
    ("blow", "fault"),
    ("blows", "faults"),
    ("books", "ledger"),
    ("breach", "violation"),
    ("complaint", "error"),
    ("desk", "batch"),
    ("dial", "connect"),
    ("door", "public listener"),
    ("era", "generation"),
    ("everybody", "name the actors"),
    ("excuse", "reset"),
    ("flights", "in flight"),
    ("hands", "service, or passes"),
    ("hasten", "schedule a check"),
    ("hears", "receives"),
    ("hurried", "fast"),
    ("intake", "subscription"),
    ("ladder", "retry delays"),
    ("landing", "confirm result"),
    ("manner", "options"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("nobody", "no one, or name the actor"),
    ("nudge", "notify"),
    ("odd", "unexpected"),
    ("patience", "timeout, or schedule"),
    ("pile", "batch"),
    ("politeness", "close timeout"),
    ("rehearse", "dry run"),
    ("restraint", "limits"),
    ("road", "path"),
    ("roads", "paths"),
    ("room", "crate, or capacity"),
    ("rooms", "crates, or capacity"),
    ("shall", "use the present tense"),
    ("slip", "completion"),
    ("somebody", "name the actor"),
    ("standing", "status"),
    ("stories", "histories"),
    ("story", "history"),
    ("strike", "inject a fault"),
    ("strikes", "injects a fault"),
    ("ticket", "completion"),
    ("vouch", "verify"),
    ("vouches", "verifies"),
    ("whoever", "name the actor"),
];

/// Phrases, as they stand in a line.
const GONE_PHRASES: [(&str, &str); 8] = [
    ("a person", "an operator"),
    ("of ours", "name the owner"),
    ("is looked at", "is checked"),
    ("looked at again", "checked again"),
    ("on the road", "in the queue"),
    ("hang_up", "close"),
    ("looks at an order", "checks an order"),
    ("the truth", "the state"),
];

/// Where a word is a name: the word, what the line contains, and why.
const ALLOWED: [(&str, &str, &str); 3] = [
    ("nobody", "nobody\"", "the UNIX user"),
    ("nobody", "not even nobody", "the UNIX user"),
    ("ticket", "ticket-shop", "the name of a shop"),
];

#[test]
fn words_of_our_own_are_gone() {
    let mut found = Vec::new();
    for path in searched() {
        // The list itself.
        if path == Path::new("tests/tidy/words.rs") {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            for (word, instead) in words_in(line) {
                found.push(format!(
                    "{}:{}: {word:?}, say {instead:?}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    none("the field has a word for it", found);
}

fn searched() -> Vec<std::path::PathBuf> {
    let mut files = all_rust_files();
    files.extend(documents(&root()));
    for (folder, ending) in
        [("deploy", ""), ("migrations", ".sql"), ("crates", ".json"), ("tests", ".sh")]
    {
        files.extend(files_with_ending(Path::new(folder), ending));
    }
    files.push("Makefile".into());
    files.retain(|path| !path.components().any(|part| part.as_os_str() == ".sqlx"));
    files
}

fn words_in(line: &str) -> Vec<(&'static str, &'static str)> {
    let parts = parts(line);
    let lower = line.to_lowercase();
    let words = GONE.iter().filter(|(word, _)| {
        let is_allowed =
            ALLOWED.iter().any(|(allowed, phrase, _)| allowed == word && lower.contains(phrase));
        parts.iter().any(|part| part == word) && !is_allowed
    });
    let phrases = GONE_PHRASES.iter().filter(|(phrase, _)| lower.contains(phrase));
    words.chain(phrases).copied().collect()
}

/// The words of a line in lower case; `CamelCase` and `snake_case` come apart.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let begins = c.is_uppercase() && before.is_lowercase();
        if !c.is_alphabetic() || begins {
            parts.push(String::new());
        }
        if c.is_alphabetic() {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn identifiers_come_apart_into_words() {
    assert_eq!(
        parts("let hang_up = OrderService::new();").join(" "),
        "let hang up order service new"
    );
    assert!(words_in("struct OrderStory;").iter().any(|(word, _)| *word == "story"));
    assert!(words_in("// nothing of the kind").is_empty());
}

#[test]
fn doc_comments_have_more_than_three_words() {
    let mut short = Vec::new();
    for path in all_rust_files() {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(doc) = doc_text(line) else { continue };
            let is_alone = [index.wrapping_sub(1), index + 1]
                .iter()
                .all(|other| lines.get(*other).is_none_or(|line| doc_text(line).is_none()));
            if is_alone && doc.split_whitespace().count() <= 3 {
                short.push(format!("{}:{}: {line}", path.display(), index + 1));
            }
        }
    }
    none("a doc comment says more than the name, or is left out", short);
}

fn doc_text(line: &str) -> Option<&str> {
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}
