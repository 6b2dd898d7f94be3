//! `make dev`: the whole system on this machine, with the simulator instead of WeChat Pay, until
//! Ctrl-C.

mod follow;

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Result;
use harness::interrupt::interrupted;
use harness::local_system::{APPID, Addresses, LocalSystem, MCH_ID};
use harness::run_folder::RunFolder;
use services::ports::free_address_near;

use crate::follow::Follower;

#[tokio::main]
async fn main() -> ExitCode {
    match dev().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dev() -> Result<ExitCode> {
    let mut interrupted = pin!(interrupted());
    let folder = RunFolder::create("dev")?;
    let mut system = prepare(folder.path())?;
    let failure = tokio::select! {
        failed = run(&mut system, folder.path()) => failed.err(),
        _ = &mut interrupted => None,
    };
    if let Some(error) = &failure {
        eprintln!("dev: {error:#}");
        eprint!("{}", folder.log_ends());
    }
    system.stop().await?;
    println!("dev: simulator, worker and ingress have stopped, their files are deleted");
    Ok(if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn prepare(folder: &Path) -> Result<LocalSystem> {
    let key: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
    let addresses = Addresses {
        simulator: free_address_near(8090),
        public: free_address_near(8080),
        private: free_address_near(8081),
        ops: free_address_near(8082),
    };
    let namespace = std::env::var("WXPAY_NAMESPACE").unwrap_or_else(|_| "wxpay".to_owned());
    LocalSystem::new(folder, addresses, &namespace, &key)
}

/// Returns when a program has exited.
async fn run(system: &mut LocalSystem, folder: &Path) -> Result<()> {
    println!("dev: starting simulator, worker and ingress");
    system.start().await?;
    let env = folder.join("env");
    system.write_env(&env)?;
    print_guide(&system.addresses, &env);
    let logs = system.programs().into_iter().map(|name| (name, system.log(name)));
    let mut follower = Follower::new(logs.collect());
    loop {
        follower.print_new_lines();
        system.check_programs()?;
        tokio::time::sleep(follow::POLL_INTERVAL).await;
    }
}

fn print_guide(addresses: &Addresses, env: &Path) {
    let Addresses { simulator, public, private, ops } = addresses;
    // The commands below are for the folder in which `make dev` runs.
    let here = std::env::current_dir().unwrap_or_default();
    let env = env.strip_prefix(here).unwrap_or(env).display();
    println!(
        "
The system is running. Ctrl-C ends it and deletes its data.

  shops          http://{private}/v1/orders   (also /openapi.json, /readyz, /metrics)
  notifications  http://{public}
  worker         http://{ops}/readyz      (also /metrics)
  simulator      http://{simulator}/_sim/

Create an order:

  curl http://{private}/v1/orders -H 'content-type: application/json' -H 'Prefer: wait=5' -d '{{
    \"mch_id\": \"{MCH_ID}\", \"appid\": \"{APPID}\", \"out_trade_no\": \"DEV-0001\",
    \"body\": \"flower shop-bouquet\", \"total_fee\": 9900, \"spbill_create_ip\": \"203.0.113.24\",
    \"openid\": \"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o\" }}'

Pay it with the button on the simulator's page, or:

  curl http://{simulator}/_sim/pay/{MCH_ID}/DEV-0001 -d '{{}}'

Read it:

  curl http://{private}/v1/orders/{MCH_ID}/DEV-0001

The commands of the worker find the system by these settings:

  (source {env} && target/debug/wxpay-worker order explain {MCH_ID} DEV-0001)
"
    );
}
