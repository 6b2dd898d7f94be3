//! How the program starts and ends.

use crate::program::{Running, program};

#[test]
fn a_bad_setting_exits_64() {
    let output = program().env("WXPAY_AMQP_URL", "http://user:s3cret@host").output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{complaint}");
    assert!(complaint.contains("WXPAY_AMQP_URL") && !complaint.contains("s3cret"), "{complaint}");
}

#[test]
fn an_argument_exits_64() {
    assert_eq!(program().arg("run").output().unwrap().status.code(), Some(64));
    assert!(program().arg("--version").output().unwrap().status.success());
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().env("WXPAY_PUBLIC_ADDR", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("WXPAY_PUBLIC_ADDR") && log.contains(&address), "{log}");
}

#[test]
fn it_ends_on_sigterm() {
    // Nobody listens at port 1.
    let url = "amqp://user:s3cret@127.0.0.1:1/%2f";
    let (status, log) = Running::start(&[("WXPAY_AMQP_URL", url)]).terminate();
    assert!(status.success(), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("\"stopped\"")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("amqp://user:***@127.0.0.1:1/%2f")), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("s3cret")), "{log:#?}");
}
