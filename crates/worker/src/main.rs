use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    worker::cli::run().await
}
