//! `make demo`: one order through the whole system. A shop asks for payment, a simulated WeChat Pay
//! takes the money, and the shop receives the event.
//!
//! On a broker that is not its own it uses a namespace made for it, whose exchanges and queues
//! remain there.

mod shop;
mod steps;

use std::process::ExitCode;

use anyhow::Result;
use harness::interrupt::interrupted;
use harness::run_folder::RunFolder;

#[tokio::main]
async fn main() -> ExitCode {
    tokio::select! {
        demo = demo() => match demo {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("demo: {error:#}");
                ExitCode::FAILURE
            }
        },
        // Dropping the demo ends its programs and deletes its files.
        code = interrupted() => ExitCode::from(code),
    }
}

async fn demo() -> Result<()> {
    let mut folder = RunFolder::create("demo")?;
    let done = steps::run(&folder).await;
    if done.is_err() {
        eprint!("{}", folder.log_ends());
        folder.keep_logs();
        eprintln!("demo: the logs are in {}", folder.path().display());
    }
    done
}
