//! `atelier doctor`: does what a server needs work here, and what is to be done if not?

use std::process::{Command, ExitCode};

use atelier_workspaces::drivers::local::LocalDriver;

use crate::server::{egress, open_store, prepare_data_dir, workspaces_config};
use crate::settings::Settings;

/// One check: what it found, or what is wrong and what to do.
struct Check {
    name: &'static str,
    result: Result<String, String>,
}

/// Runs every check and prints a line each. Exit code 1 if one failed.
pub(crate) async fn run(settings: Settings) -> ExitCode {
    let checks =
        [data_folder(&settings), database(&settings).await, sandbox(&settings).await, git(), outgoing(&settings)];
    let mut all_good = true;
    for check in checks {
        match check.result {
            Ok(found) => println!("ok    {}: {found}", check.name),
            Err(problem) => {
                all_good = false;
                println!("FAIL  {}: {problem}", check.name);
            }
        }
    }
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn data_folder(settings: &Settings) -> Check {
    let result = settings
        .data_dir()
        .and_then(|folder| prepare_data_dir(&folder).map(|()| folder.display().to_string()))
        .map_err(|error| format!("{error:#}\n      set ATELIER_DATA_DIR to a folder this user may write"));
    Check { name: "data folder", result }
}

async fn database(settings: &Settings) -> Check {
    let opened = async {
        let store = open_store(settings, &settings.data_dir()?).await?;
        let (providers, models) = (store.provider_list().await?.len(), store.model_list().await?.len());
        let engine = store.engine();
        store.close().await;
        anyhow::Ok(format!("{engine:?}, {providers} providers, {models} models"))
    };
    let result = opened.await.map_err(|error| {
        format!("{error:#}\n      if a server runs on this data folder, stop it first; else check ATELIER_DATABASE_URL")
    });
    Check { name: "database", result }
}

async fn sandbox(settings: &Settings) -> Check {
    let opened = async {
        let config = workspaces_config(settings, &settings.data_dir()?)?;
        let driver = LocalDriver::open(config.local).await?;
        anyhow::Ok(driver.sandbox().map(|sandbox| sandbox.name().to_owned()).map_err(str::to_owned))
    };
    let result = match opened.await {
        Ok(Ok(name)) => Ok(name),
        Ok(Err(why)) => Err(format!("{why}\n      install bubblewrap: apt-get install bubblewrap")),
        Err(error) => Err(format!("{error:#}")),
    };
    Check { name: "sandbox of local workspaces", result }
}

fn git() -> Check {
    let result = match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(_) | Err(_) => Err("git does not run\n      install it: apt-get install git".to_owned()),
    };
    Check { name: "git", result }
}

fn outgoing(settings: &Settings) -> Check {
    let allowed = if settings.egress_allow.is_empty() { "public addresses only" } else { &settings.egress_allow };
    let result = egress(settings).map(|_| allowed.to_owned()).map_err(|error| format!("{error:#}"));
    Check { name: "outgoing calls", result }
}
