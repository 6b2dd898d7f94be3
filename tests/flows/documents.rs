//! The blocks of the documents that a reader would paste, run exactly as they are written.

use std::collections::BTreeSet;
use std::fs;
use std::future::ready;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::eventually;
use harness::markdown::{Block, blocks, documents};
use harness::program::binary;
use harness::servers::{Server, Servers};
use serde_json::{Value, json};
use services::install_packages;
use services::ports::free_address;
use uuid::Uuid;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn all_blocks() -> Vec<Block> {
    let text = |path: &PathBuf| fs::read_to_string(root().join(path)).unwrap();
    documents(root()).iter().flat_map(|path| blocks(path, &text(path))).collect()
}

/// The block of the README that begins with these words.
fn readme_block(begin: &str) -> String {
    let blocks = all_blocks().into_iter().filter(|block| block.document == Path::new("README.md"));
    let mut found = blocks.filter(|block| block.text.starts_with(begin));
    found.next().unwrap_or_else(|| panic!("README.md has no block {begin:?}")).text
}

/// A new user's shell: a folder with the built programs, servers, and four free addresses. What it
/// started ends with it.
struct Shell {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
    children: Vec<Child>,
}

impl Shell {
    fn new(servers: &Servers) -> Self {
        let folder = std::env::temp_dir().join(format!("wxpay-readme-{}", Uuid::new_v4().simple()));
        let programs = binary("wxpay-worker").parent().unwrap().to_owned();
        fs::create_dir_all(folder.join("target")).unwrap();
        std::os::unix::fs::symlink(programs, folder.join("target/debug")).unwrap();
        let [public, private, ops, simulator] = [(); 4].map(|()| free_address().to_string());
        // The blocks name the default ports; curl connects to the free ones instead.
        let curlrc = format!(
            "connect-to = 127.0.0.1:8081:{private}\nconnect-to = 127.0.0.1:8090:{simulator}\n"
        );
        fs::write(folder.join(".curlrc"), curlrc).unwrap();
        let variables = vec![
            ("CURL_HOME", folder.to_str().unwrap().to_owned()),
            ("WXPAY_DATABASE_URL", servers.url(Server::Postgres).to_string()),
            ("WXPAY_AMQP_URL", servers.url(Server::RabbitMq).to_string()),
            ("WXPAY_PUBLIC_ADDR", public),
            ("WXPAY_PRIVATE_ADDR", private),
            ("WXPAY_OPS_ADDR", ops),
            ("WXPAY_SIM_ADDR", simulator),
        ];
        Self { folder, variables, children: Vec::new() }
    }

    /// Starts a program with a text as its file, and returns the file of its output.
    fn start(&mut self, program: &str, name: &str, text: &str) -> PathBuf {
        let script = self.folder.join(name);
        fs::write(&script, text).unwrap();
        let output = self.folder.join(format!("{name}.output"));
        let file = fs::File::create(&output).unwrap();
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("WXPAY_")) {
            command.env_remove(variable);
        }
        command.arg(script).current_dir(&self.folder).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stderr(file.try_clone().unwrap()).stdout(file).process_group(0);
        self.children.push(command.spawn().unwrap());
        output
    }

    /// Runs a block of shell to its end, and returns what it prints.
    async fn run(&mut self, name: &str, block: &str) -> String {
        let output = self.start("bash", name, &format!("set -e\n{block}"));
        let mut child = self.children.pop().unwrap();
        let status = eventually(name, || ready(child.try_wait().unwrap())).await;
        // Programs that it started in the background stay in its group.
        self.children.push(child);
        let printed = fs::read_to_string(output).unwrap();
        assert!(status.success(), "{name}: {status}: {printed}");
        printed
    }

    async fn post_to_simulator(&self, path: &str, body: Value) {
        let (_, address) =
            self.variables.iter().find(|(name, _)| *name == "WXPAY_SIM_ADDR").unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.post(format!("http://{address}/_sim/{path}")).body(body.to_string());
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for child in &mut self.children {
            let group = child.id().to_string();
            let mut kill = Command::new("kill");
            let _ = kill.args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A Python with `pika`, which is installed where that is allowed.
fn python() -> &'static str {
    let has_pika = |python: &str| {
        let check = Command::new(python).args(["-c", "import pika"]).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    };
    let find = || ["/usr/bin/python3", "python3"].into_iter().find(|python| has_pika(python));
    if find().is_none() || Command::new("curl").arg("--version").output().is_err() {
        install_packages(&["curl", "python3-pika"]).unwrap();
    }
    find().expect("the README's blocks need: sudo apt-get install curl python3-pika")
}

#[tokio::test]
async fn readme_blocks_run_as_written() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let servers = Servers::start().await;
    let mut shell = Shell::new(&servers);
    shell.run("by-hand", &readme_block("mkdir -p target/by-hand")).await;

    let consumer = shell.start(python, "consumer.py", &readme_block("import json"));
    let printed = async |line: &str| {
        eventually(line, async || {
            let output = fs::read_to_string(&consumer).unwrap();
            assert!(!output.contains("Traceback"), "{output}");
            output.lines().any(|printed| printed.starts_with(line)).then_some(())
        })
        .await;
    };
    // It listens before it publishes its order.
    printed("SO20261120-0002 order.payable payable").await;
    let created = shell.run("create", &readme_block("curl http://127.0.0.1:8081/v1/orders")).await;
    let json_begin = created.find('{').unwrap();
    let view: Value = serde_json::from_str(&created[json_begin..]).unwrap();
    assert_eq!((&view["state"], view["pay"].is_object()), (&json!("payable"), true), "{view}");
    printed("SO20261120-0001 order.payable payable").await;
    // A payment of another amount is told and not lost behind the rule about `seq`.
    let wrong = json!({"total_fee": 1, "notify_only": true});
    shell.post_to_simulator("pay/1900000109/SO20261120-0002", wrong).await;
    printed("SO20261120-0002 exception.opened").await;
    for number in ["SO20261120-0001", "SO20261120-0002"] {
        shell.post_to_simulator(&format!("pay/1900000109/{number}"), json!({})).await;
        printed(&format!("{number} order.paid paid")).await;
    }
    // And so is the refusal of an order, which has no `seq` at all.
    let other = readme_block("curl http://127.0.0.1:8081/v1/orders").replace("9900", "1");
    shell.run("conflict", &other).await;
    printed("SO20261120-0001 order.rejected").await;
}

/// What stands in the documents for a value of the reader's, longest first.
const PLACEHOLDERS: [(&str, &str); 5] = [
    ("OUT_TRADE_NO", "SO20261120-0001"),
    ("MCH_ID", "1900000109"),
    ("DIGEST", "abcdef"),
    ("TIME", "2026-11-20T00:00:00Z"),
    ("TEXT", "text"),
];

#[test]
fn worker_commands_of_documents_are_verbs() {
    let mut commands = BTreeSet::new();
    for document in documents(root()) {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let lines = text.lines().flat_map(|line| line.split('`'));
        let lines = lines.filter_map(|code| code.split_once("wxpay-worker ").map(|(_, verb)| verb));
        let verbs = lines.map(|verb| verb.split(" #").next().unwrap_or_default().trim());
        commands.extend(verbs.filter(|verb| !verb.is_empty()).map(str::to_owned));
    }
    assert!(commands.iter().any(|command| command.starts_with("order explain")), "{commands:?}");
    for command in commands {
        let mut filled = command.clone();
        for (placeholder, value) in PLACEHOLDERS {
            filled = filled.replace(placeholder, value);
        }
        let words = filled.split_whitespace().take_while(|word| is_argument(word));
        let words: Vec<&str> = words.collect();
        if !words.first().is_some_and(|verb| verb.chars().all(|c| c.is_ascii_lowercase())) {
            continue;
        }
        // With `--help` the command is parsed and not run.
        let help =
            Command::new(binary("wxpay-worker")).args(&words).arg("--help").output().unwrap();
        assert!(help.status.success(), "{command}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

/// Whether a word belongs to a command: prose and the rest of a shell line do not.
fn is_argument(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "-_/:".contains(c))
}
