//! How the program starts and ends.

use crate::program::{Running, program};

#[test]
fn bad_setting_exits_64() {
    let output = program().env("WXPAY_AMQP_URL", "http://user:s3cret@host").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert!(error.contains("WXPAY_AMQP_URL") && !error.contains("s3cret"), "{error}");
}

#[test]
fn argument_exits_64() {
    assert_eq!(program().arg("run").output().unwrap().status.code(), Some(64));
    assert!(program().arg("--version").output().unwrap().status.success());
}

#[test]
fn port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().env("WXPAY_PUBLIC_ADDR", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("WXPAY_PUBLIC_ADDR") && log.contains(&address), "{log}");
}

#[tokio::test]
async fn sigterm_ends_the_program() {
    // Nothing listens at port 1.
    let url = "amqp://user:s3cret@127.0.0.1:1/%2f";
    let (status, log) = Running::start(&[("WXPAY_AMQP_URL", url)]).terminate().await;
    assert!(status.success(), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("\"stopped\"")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("amqp://user:***@127.0.0.1:1/%2f")), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("s3cret")), "{log:#?}");
}
