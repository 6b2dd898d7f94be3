//! The program `services` as the Makefile runs it. Real servers are started by the flow tests;
//! here none is needed, because both URLs are given.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

fn services(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_services"));
    command.args(arguments).stdin(Stdio::null());
    command.env("WXPAY_DATABASE_URL", "unused").env("WXPAY_AMQP_URL", "unused");
    command
}

fn with(script: &str) -> Output {
    services(&["with", "sh", "-c", script]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned()
}

fn is_alive(pid: i32) -> bool {
    services::process::ProcessId::of(pid).is_some()
}

/// Starts `with` in a process group of its own, and waits until its command has started another
/// process. Returns the pid of that one and the folder of `with`.
fn with_in_background(start: &str) -> (Child, i32, PathBuf) {
    let script = format!("{start} >/dev/null 2>&1 & echo $! $TMPDIR; wait");
    let mut command = services(&["with", "sh", "-c", &script]);
    let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (started, temporary) = line.trim_end().split_once(' ').unwrap();
    let started = started.parse().unwrap();
    let folder = Path::new(temporary).parent().unwrap().to_owned();
    assert!(is_alive(started) && folder.is_dir());
    (child, started, folder)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap()).unwrap()
}

#[test]
fn with_returns_the_exit_code_of_the_command() {
    assert_eq!(services(&["with", "false"]).status().unwrap().code(), Some(1));
    assert_eq!(with("exit 7").status.code(), Some(7));
    assert_eq!(with("kill -KILL $$").status.code(), Some(128 + 9));
    assert_eq!(services(&["with", "/no/such/program"]).status().unwrap().code(), Some(127));
}

#[test]
fn wrong_arguments_exit_64_with_the_usage() {
    for arguments in [&[][..], &["with"], &["up", "one", "two"], &["start"]] {
        let output = services(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(text(&output.stderr).contains("services with COMMAND"), "{arguments:?}");
    }
}

#[test]
fn with_passes_given_urls_and_deletes_temporary_files() {
    let output = with("touch $TMPDIR/file; echo $WXPAY_DATABASE_URL; echo $TMPDIR");
    let lines = text(&output.stdout);
    let (url, temporary) = lines.split_once('\n').unwrap();
    assert_eq!(url, "unused");
    assert!(!Path::new(temporary).exists());
    assert!(!Path::new(temporary).parent().unwrap().exists());
}

#[test]
fn with_kills_and_names_what_the_command_leaves_behind() {
    let output = with("setsid sleep 600 >/dev/null 2>&1 & echo $!");
    let pid = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains(&format!("left behind: {pid} sleep")), "{output:?}");
    assert!(!is_alive(pid.parse().unwrap()));
}

#[test]
fn ctrl_c_leaves_no_process_and_no_file() {
    let (mut child, sleeper, folder) = with_in_background("setsid sleep 600");
    kill_process_group(pid(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_alive(sleeper) && !folder.exists());
}

#[test]
fn term_of_with_alone_stops_the_command() {
    let (mut child, sleeper, folder) = with_in_background("sleep 600");
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!is_alive(sleeper) && !folder.exists());
}

#[test]
fn foreign_folder_is_left_alone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("notes");
    fs::write(&file, "mine").unwrap();
    let path = folder.to_str().unwrap();
    let down = services(&["down", path]).output().unwrap();
    assert!(down.status.success() && text(&down.stderr).contains("nothing was started"));
    let up = services(&["up", path]).output().unwrap();
    assert_eq!(up.status.code(), Some(1));
    assert!(text(&up.stderr).contains("holds something else"), "{up:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
