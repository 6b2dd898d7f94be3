//! Modules import each other in one direction only.
//!
//! The graph has a node for each source file and an arrow from a file to each file whose items it
//! names: in a `use`, by a path that begins with `crate` or `super`, or through a child module. A
//! `pub use` is no arrow: an import through it leads to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::text::{code, names_in, none, root, rust_files, without_tests};

/// The path of a module inside its crate; empty for the crate root.
type Module = Vec<String>;

struct Source {
    /// What `use` and paths name, from the crate root.
    imports: Vec<Module>,
    /// What `pub use` passes on, by the name that it has here.
    reexports: BTreeMap<String, Module>,
}

struct Crate {
    sources: BTreeMap<Module, Source>,
}

#[test]
fn modules_import_each_other_in_no_circle() {
    let mut circles = Vec::new();
    for name in names_in(Path::new("crates")) {
        let folder = Path::new("crates").join(&name).join("src");
        if root().join(&folder).is_dir() {
            let arrows = Crate::read(&folder).arrows();
            circles.extend(
                circles_of(&arrows).iter().map(|circle| format!("{name}: {}", shown(circle))),
            );
        }
    }
    none("no import circles between modules", circles);
}

/// Layers of the worker, the highest first. A module belongs to the first layer that names it or
/// its parent.
const WORKER_LAYERS: [&[&str]; 4] = [
    &[
        "",
        "cli",
        "operator",
        "run",
        "consumers",
        "ops",
        "gauges",
        "heartbeat",
        "retention",
        "unrouted",
        "testing",
    ],
    &["commands", "notifications", "reconcile", "replay", "order_service", "gateway"],
    &["relay", "store"],
    &[],
];

/// Arrows of the worker that run back up, each with its reason.
const WORKER_UPWARD: [(&str, &str, &str); 1] =
    [("config", "gateway::limits", "the limits' defaults stand beside what they limit")];

#[test]
fn worker_layers_import_downward() {
    let arrows = Crate::read(Path::new("crates/worker/src")).arrows();
    let mut upward = Vec::new();
    for (from, to) in arrows.iter().flat_map(|(from, tos)| tos.iter().map(move |to| (from, to))) {
        let is_named = WORKER_UPWARD
            .iter()
            .any(|(named_from, named_to, _)| *named_from == label(from) && *named_to == label(to));
        if layer(to) < layer(from) && !is_named {
            upward.push(format!("{} -> {}", label(from), label(to)));
        }
    }
    none("a module of the worker imports what is above it", upward);
    assert!(WORKER_UPWARD.len() <= 7, "more than a reader keeps in mind");
    for (from, to, reason) in WORKER_UPWARD {
        let is_there = arrows
            .iter()
            .any(|(it, tos)| label(it) == from && tos.iter().any(|other| label(other) == to));
        assert!(is_there, "{from} -> {to} is gone, and so is its reason: {reason}");
    }
}

/// What the store may import of the worker outside its own folder.
const STORE_IMPORTS: [&str; 3] = ["clock", "failpoint", "schedule"];

#[test]
fn store_imports_only_leaves() {
    let arrows = Crate::read(Path::new("crates/worker/src")).arrows();
    let mut foreign = Vec::new();
    for (from, tos) in
        arrows.iter().filter(|(from, _)| from.first().is_some_and(|it| it == "store"))
    {
        for to in tos {
            let is_own = to.first().is_some_and(|it| it == "store");
            if !is_own && !STORE_IMPORTS.contains(&&*label(to)) {
                foreign.push(format!("{} -> {}", label(from), label(to)));
            }
        }
    }
    for leaf in STORE_IMPORTS {
        let imports = arrows.get(&vec![leaf.to_owned()]).into_iter().flatten();
        let others = imports.filter(|to| !STORE_IMPORTS.contains(&&*label(to)));
        foreign.extend(others.map(|to| format!("{leaf} is no leaf: it imports {}", label(to))));
    }
    none("the store imports leaves of the worker alone", foreign);
}

fn layer(module: &Module) -> usize {
    let top = module.first().map_or("", String::as_str);
    WORKER_LAYERS.iter().position(|layer| layer.contains(&top)).unwrap_or(WORKER_LAYERS.len() - 1)
}

fn label(module: &Module) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("::") }
}

fn shown(circle: &[Module]) -> String {
    circle.iter().map(label).collect::<Vec<_>>().join(", ")
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let files: Vec<(Module, PathBuf)> = rust_files(folder)
            .into_iter()
            .filter_map(|path| Some((module_of(path.strip_prefix(folder).ok()?)?, path)))
            .collect();
        let modules: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
        let sources = files.into_iter().map(|(module, path)| {
            let source = read_source(&module, &code(&without_tests(&path)), &modules);
            (module, source)
        });
        Self { sources: sources.collect() }
    }

    fn arrows(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let arrows = self.sources.iter().map(|(module, source)| {
            let mut to: BTreeSet<Module> =
                source.imports.iter().map(|import| self.file_of(import, 0)).collect();
            to.remove(module);
            (module.clone(), to)
        });
        arrows.collect()
    }

    /// The file that defines what a path names.
    fn file_of(&self, path: &[String], depth: usize) -> Module {
        /// More steps than any item is passed on here.
        const REEXPORTS_MAX: usize = 8;
        for length in (0..=path.len()).rev() {
            let (module, rest) = path.split_at(length);
            let Some(source) = self.sources.get(module) else { continue };
            let passed_on = rest.first().and_then(|item| source.reexports.get(item));
            return match passed_on {
                Some(target) if depth < REEXPORTS_MAX => {
                    self.file_of(&[target, &rest[1..]].concat(), depth + 1)
                }
                _ => module.to_vec(),
            };
        }
        Module::new()
    }
}

/// The module that a file below `src` is; none for the root of a binary.
fn module_of(path: &Path) -> Option<Module> {
    let mut module: Module =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match module.last()?.as_str() {
        "main" if module.len() == 1 => return None,
        "lib" | "mod" => drop(module.pop()),
        _ => {}
    }
    Some(module)
}

fn read_source(module: &Module, code: &str, modules: &BTreeSet<Module>) -> Source {
    let mut source = Source { imports: Vec::new(), reexports: BTreeMap::new() };
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        let Some((before, is_public, tree)) = use_tree(statement) else {
            rest.push_str(statement);
            continue;
        };
        rest.push_str(before);
        for path in leaves(tree) {
            let (path, alias) = match path.split_once(" as ") {
                Some((path, alias)) => (path.trim().to_owned(), Some(alias.trim().to_owned())),
                None => (path, None),
            };
            let Some(target) = absolute(module, &path, modules) else { continue };
            match alias.or_else(|| target.last().cloned()) {
                Some(name) if is_public => drop(source.reexports.insert(name, target)),
                _ => source.imports.push(target),
            }
        }
    }
    source.imports.extend(paths(&rest).iter().filter_map(|path| absolute(module, path, modules)));
    source
}

/// A statement that ends with `use …;`: what stands before it, whether it is public, its tree.
fn use_tree(statement: &str) -> Option<(&str, bool, &str)> {
    let at = statement
        .match_indices("use ")
        .map(|(at, _)| at)
        .find(|at| statement[..*at].chars().next_back().is_none_or(char::is_whitespace))?;
    let before = &statement[..at];
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    let is_use =
        line.is_empty() || line == "pub" || (line.starts_with("pub(") && line.ends_with(')'));
    let tree = statement[at + "use ".len()..].strip_suffix(';')?;
    is_use.then_some((before, !line.is_empty(), tree))
}

/// The single paths of a `use` tree.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim_end_matches("::self").to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let mut depth = 0_usize;
    let parts = inside.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(|part| leaves(&format!("{prefix}{part}"))).collect()
}

/// Every path of more than one segment.
fn paths(code: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c| !is_part(c)).map(|word| word.trim_matches(':'));
    words.filter(|word| word.contains("::")).map(str::to_owned).collect()
}

/// A path from the crate root, as far as it leads into this crate.
fn absolute(module: &Module, path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let mut segments = path.split("::").map(|segment| segment.trim().to_owned()).peekable();
    let mut base = module.clone();
    match segments.peek()?.as_str() {
        "crate" => {
            segments.next();
            base.clear();
        }
        "self" => drop(segments.next()),
        "super" => {
            while segments.next_if(|segment| segment == "super").is_some() {
                base.pop();
            }
        }
        child => {
            let child = [&base[..], &[child.to_owned()]].concat();
            modules.contains(&child).then_some(())?;
        }
    }
    Some(base.into_iter().chain(segments).collect())
}

/// The groups of modules of which each reaches each other.
fn circles_of(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        arrows.keys().map(|module| (module, reached_from(module, arrows))).collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        let circle: Vec<Module> = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(module)))
            .map(|other| (*other).clone())
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(
    module: &Module,
    arrows: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Module> = arrows.get(module).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(arrows.get(next).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn circles_are_found_through_reexports_and_child_modules() {
    let modules: BTreeSet<Module> =
        ["", "a", "a::b", "c"].iter().map(|path| module_named(path)).collect();
    let read = |name: &str, code: &str| {
        let module = module_named(name);
        let source = read_source(&module, code, &modules);
        (module, source)
    };
    let sources = BTreeMap::from([
        read("", "mod a; mod c; pub use a::Thing;"),
        read("a", "mod b; pub(crate) use b::{Thing, Other as Renamed}; fn f() { b::g() }"),
        read("a::b", "use std::fmt; use crate::c::{self, Leaf};"),
        read("c", "use crate::{Thing};"),
    ]);
    let arrows = Crate { sources }.arrows();
    assert_eq!(circles_of(&arrows), [[module_named("a::b"), module_named("c")]]);
    assert_eq!(arrows[&module_named("a")], BTreeSet::from([module_named("a::b")]));
}

fn module_named(path: &str) -> Module {
    path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
