//! `./dev bench`: a release server, measured from outside against a fake model on loopback.
//!
//! The fake model runs in this process, so a part's latency is the time between writing it to the
//! server's model connection and reading it from the server's WebSocket, on one clock. Every loop is
//! bounded. What is printed is one table; settings that differ from a fresh server stand above it.

mod client;
mod data;
mod fake_model;
mod rows;
mod server;
mod stats;

use std::path::PathBuf;

use clap::Parser;

/// Measures a release build of Atelier against a fake model.
#[derive(Parser)]
struct Arguments {
    /// Rows to measure, by their short name; none = all
    rows: Vec<String>,

    /// The program to measure
    #[arg(long, env = "ATELIER_BENCH_BINARY")]
    binary: PathBuf,

    /// PostgreSQL instead of SQLite: URL of an empty database
    #[arg(long, env = "ATELIER_BENCH_POSTGRES")]
    postgres: Option<String>,

    /// Folder of the data set of the row `data`, which is made once and kept
    #[arg(long, env = "ATELIER_BENCH_DATA", default_value = "bench-data")]
    data: PathBuf,

    /// Fewer repetitions, for a first look
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let setup = server::Setup {
        binary: arguments.binary,
        postgres: arguments.postgres,
        model: fake_model::start().await?,
        quick: arguments.quick,
        data: arguments.data,
    };
    let known: Vec<&str> = rows::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = arguments.rows.iter().find(|row| !known.contains(&row.as_str())) {
        anyhow::bail!("no row '{unknown}'; rows are {}", known.join(", "));
    }
    println!("Atelier {} on {} cores, {}", setup.version().await?, cores(), setup.database());
    println!("settings: {}", server::SETTINGS.map(|(name, value)| format!("{name}={value}")).join(" "));
    println!();
    println!("| row | what | min | median | p99 | max | unit | target |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for (name, measure) in rows::ALL {
        // the first run of `data` takes minutes: only when it is named
        let is_asked_for = arguments.rows.iter().any(|row| row == name);
        if !is_asked_for && (!arguments.rows.is_empty() || name == "data") {
            continue;
        }
        match measure(&setup).await {
            Ok(results) => {
                for result in results {
                    println!("{}", result.line(name));
                    if result.is_missed() {
                        missed.push(format!("{name}: {}", result.what));
                    }
                }
            }
            Err(error) => {
                println!("| {name} | failed: {error:#} | | | | | | |");
                missed.push(format!("{name}: failed"));
            }
        }
    }
    println!();
    if missed.is_empty() {
        println!("all targets met");
    } else {
        println!("missed: {}", missed.join("; "));
    }
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
