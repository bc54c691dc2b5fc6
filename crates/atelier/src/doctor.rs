//! `atelier doctor`: does what a server needs work here, and what is to be done if not?

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use atelier_domain::chain::Chain;
use atelier_domain::text::plain;
use atelier_llm::{BaseUrl, ProviderKind};
use atelier_store::ProviderRow;
use atelier_workspaces::drivers::local::{LocalDriver, Sandbox};
use atelier_workspaces::templates::HostNetwork;

use crate::server::{egress, open_store, prepare_data_dir, refuse_lost_database, workspaces_config};
use crate::settings::Settings;

/// How long a provider has to answer.
const PROVIDER_WAIT: Duration = Duration::from_secs(10);

/// One check: what it found, or what is wrong and what to do.
struct Check {
    name: String,
    result: Result<String, String>,
}

/// Runs every check and prints a line each. Exit code 1 if one failed.
pub(crate) async fn run(settings: Settings) -> ExitCode {
    // the data folder is made first: the others need it
    let data_folder = data_folder(&settings);
    let (stored, providers) = stored(&settings).await;
    let mut checks = vec![data_folder];
    checks.extend(stored);
    checks.extend(local_workspaces(&settings).await);
    checks.extend([git(), outgoing(&settings)]);
    for provider in providers {
        checks.push(provider_check(&settings, provider).await);
    }
    let mut all_good = true;
    for check in checks {
        match check.result {
            Ok(found) => println!("{}", plain(&format!("ok    {}: {found}", check.name))),
            Err(problem) => {
                all_good = false;
                println!("{}", plain(&format!("FAIL  {}: {problem}", check.name)));
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
    Check { name: "data folder".to_owned(), result }
}

/// The database and the place of files, and the providers that are set up.
async fn stored(settings: &Settings) -> (Vec<Check>, Vec<ProviderRow>) {
    let opened = async {
        let data_dir = settings.data_dir()?;
        let store = open_store(settings, &data_dir).await?;
        let (providers, models) = (store.provider_list().await?, store.model_list().await?.len());
        let files = store.blobs_check().await.map(|place| place.as_str().to_owned());
        let files = files.map_err(|error| format!("{error}\n      check ATELIER_FILE_STORE and what it names"));
        let found = format!("{:?}, {} providers, {models} models", store.engine(), providers.len());
        store.close().await;
        anyhow::Ok((found, files, providers))
    };
    let check = |name: &str, result| Check { name: name.to_owned(), result };
    // opening a lost one would make a new one; the error says what to do
    if let Err(error) = settings.data_dir().and_then(|data_dir| refuse_lost_database(settings, &data_dir)) {
        return (vec![check("database", Err(format!("{error:#}")))], Vec::new());
    }
    match opened.await {
        Ok((found, files, providers)) => (vec![check("database", Ok(found)), check("files", files)], providers),
        Err(error) => {
            let todo = match settings.database_url {
                Some(_) => "check ATELIER_DATABASE_URL, and that PostgreSQL accepts connections there",
                None => "if a server runs on this data folder, stop it first",
            };
            (vec![check("database", Err(format!("{}\n      {todo}", Chain(&*error))))], Vec::new())
        }
    }
}

/// Whether a provider can be used: it has a key if it needs one, and its server answers anything at all.
async fn provider_check(settings: &Settings, provider: ProviderRow) -> Check {
    let reached = async {
        let kind = ProviderKind::from_name(&provider.provider).context("this build has no adapter for its type")?;
        if !provider.enabled {
            return anyhow::Ok("switched off".to_owned());
        }
        if !provider.has_api_key && provider.central_api_key_enabled && kind.requires_key() {
            bail!("it has no API key\n      set api_key with PATCH /api/experimental/chats/providers/{}", provider.id);
        }
        let Some(base_url) = BaseUrl::in_use(kind, provider.base_url.as_deref()) else {
            return Ok("works without a network".to_owned());
        };
        let base_url = base_url?;
        let request = reqwest::Request::new(reqwest::Method::GET, base_url.as_str().parse()?);
        let sent = tokio::time::timeout(PROVIDER_WAIT, egress(settings)?.send(request)).await;
        let answer = sent.with_context(|| format!("{} does not answer", base_url.as_str()))?;
        let answer = answer.with_context(|| format!("{} cannot be reached", base_url.as_str()))?;
        Ok(format!("{} answers ({})", base_url.as_str(), answer.status().as_u16()))
    };
    let result = reached.await.map_err(|error| format!("{error:#}"));
    Check { name: format!("provider {}", provider.name), result }
}

/// What shuts local workspaces in, and what network they get.
async fn local_workspaces(settings: &Settings) -> Vec<Check> {
    let opened = async {
        let config = workspaces_config(settings, &settings.data_dir()?)?;
        anyhow::Ok(LocalDriver::open(config.local).await?)
    };
    let driver = opened.await.map_err(|error| format!("{error:#}"));
    let driver = driver.as_ref();
    let sandbox = driver.map_err(Clone::clone).and_then(|driver| match driver.sandbox() {
        Ok(sandbox) => Ok(described(sandbox)),
        Err(why) => Err(format!("{why}\n      install bubblewrap: apt-get install bubblewrap")),
    });
    let network = driver.map_err(Clone::clone).and_then(network);
    vec![
        Check { name: "sandbox of local workspaces".to_owned(), result: sandbox },
        Check { name: "network of local workspaces".to_owned(), result: network },
    ]
}

/// What the network policy `open` means here.
fn network(driver: &LocalDriver) -> Result<String, String> {
    let todo = match driver.sandbox() {
        Ok(Sandbox::Bubblewrap { .. }) => "install pasta: apt-get install passt iproute2",
        Ok(Sandbox::Landlock | Sandbox::Off) | Err(_) => {
            "install bubblewrap and pasta (apt-get install bubblewrap passt iproute2) and leave ATELIER_LOCAL_SANDBOX at auto"
        }
    };
    match (driver.private_network(), driver.host_network()) {
        (Ok(()), HostNetwork::Allow) => Ok("pasta; templates may ask for the host's network".to_owned()),
        (Ok(()), HostNetwork::Fallback | HostNetwork::Refuse) => Ok("pasta: the host is out of reach".to_owned()),
        (Err(why), HostNetwork::Refuse) => {
            Err(format!("workspaces of the network policy open cannot start: {why}\n      {todo}"))
        }
        (Err(why), HostNetwork::Fallback | HostNetwork::Allow) => Ok(format!(
            "warning: the host's own, workspaces of the network policy open reach all that listens on it: {why}\n      {todo}"
        )),
    }
}

/// The sandbox with what it leaves open.
fn described(sandbox: &Sandbox) -> String {
    let name = sandbox.name();
    match sandbox {
        Sandbox::Landlock => format!(
            "{name}\n      commands can read the command lines of all processes of this host: pass no secrets in them; \
             bubblewrap hides them"
        ),
        Sandbox::Bubblewrap { .. } | Sandbox::Off => name.to_owned(),
    }
}

fn git() -> Check {
    let result = match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(_) | Err(_) => Err("git does not run\n      install it: apt-get install git".to_owned()),
    };
    Check { name: "git".to_owned(), result }
}

fn outgoing(settings: &Settings) -> Check {
    let allowed = if settings.egress_allow.is_empty() { "public addresses only" } else { &settings.egress_allow };
    let result = egress(settings).map(|_| allowed.to_owned()).map_err(|error| format!("{error:#}"));
    Check { name: "outgoing calls".to_owned(), result }
}
