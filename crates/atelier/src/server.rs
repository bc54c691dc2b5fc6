//! Putting the server together, and ending it in order.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use atelier_daemon::{Daemon, DaemonConfig, DaemonParts, ExecutorConfig, Faults};
use atelier_domain::SharedClock;
use atelier_egress::{Dialer, Egress, EgressPolicy};
use atelier_llm::{ProviderKind, ProviderRegistry, RegistryParts, Scripts};
use atelier_server::{ConnectionLimits, Rates, Server, ServerConfig, ServerParts, TrustedProxies};
use atelier_store::{
    BlobPlace, BlobsConfig, BucketConfig, Database, Engine, ProviderPreset, ProviderPresets, SecretString,
    SecretsConfig, Store, StoreConfig,
};
use atelier_stream::{Hubs, StreamConfig};
use atelier_workspaces::drivers::local::{LocalSettings, SandboxChoice};
use atelier_workspaces::templates::HostNetwork;
use atelier_workspaces::{OutgoingSettings, WorkspaceService, WorkspacesConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::settings::Settings;
use crate::{demo, setup, signals};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Requests under way get this long to end.
const REQUEST_GRACE: Duration = Duration::from_secs(5);

/// What `atelier server` is started with.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Begin with a new database although the data folder holds keys or workspaces of another one
    #[arg(long)]
    new_database: bool,
}

/// Runs the server until it is asked to stop.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { settings, new_database } = arguments;
    start_logging(&settings);
    signals::ignore_user_signals()?;
    raise_open_files();
    let trusted_proxies: TrustedProxies =
        settings.trusted_proxies.parse().context("ATELIER_TRUSTED_PROXIES cannot be read")?;
    let data_dir = settings.data_dir()?;
    if !new_database {
        refuse_lost_database(&settings, &data_dir)?;
    }
    prepare_data_dir(&data_dir)?;
    // the address first: whoever starts us twice by mistake learns it before anything is touched
    let listener = listen(&settings.http_address)
        .await
        .with_context(|| format!("cannot listen on {} (ATELIER_HTTP_ADDRESS)", settings.http_address))?;
    let address = listener.local_addr()?;
    let access_url = match &settings.access_url {
        Some(url) => url.clone(),
        None => format!("http://{address}"),
    };

    let clock: SharedClock = Arc::new(SystemClock::new());
    let store = open_store(&settings, &data_dir).await?;
    let files = store.clone();
    // a bucket that is away holds nobody up but those who need it
    tokio::spawn(async move {
        if let Err(error) = files.blobs_check().await {
            tracing::warn!("files cannot be stored now: {error}");
        }
    });
    let egress = egress(&settings)?;
    let registry = registry(&settings, egress.clone(), Arc::clone(&clock));
    let presets = Arc::new(presets());
    let hubs = Hubs::new(store.clone(), Arc::clone(&clock), StreamConfig::default());
    let workspaces = WorkspaceService::open(
        store.clone(),
        hubs.clone(),
        Arc::clone(&clock),
        workspaces_config(&settings, &data_dir)?,
    )
    .await
    .context("the workspaces of this host cannot be managed")?;
    if store.engine() == Engine::Sqlite {
        store.idempotency_forget_open_for_system().await?;
    }
    let demo = match settings.demo {
        true => Some(demo::set_up(&store, &workspaces, &clock).await.context("the demo cannot be set up")?),
        false => None,
    };
    let left_behind = if settings.demo { None } else { demo::left_behind(&store).await? };
    let setup =
        setup::prepare(&settings, &store, &data_dir, &clock).await.context("the first user cannot be set up")?;
    let daemon = Daemon::start(DaemonParts {
        store: store.clone(),
        hubs: hubs.clone(),
        registry: registry.clone(),
        presets: Arc::clone(&presets),
        workspaces: Arc::new(workspaces.clone()),
        clock: Arc::clone(&clock),
        faults: faults(),
        config: DaemonConfig {
            executor: ExecutorConfig {
                slots: settings.daemon_slots,
                slots_per_user: settings.daemon_slots_per_user,
                ..ExecutorConfig::default()
            },
            replica_url: access_url.clone(),
            build: VERSION.to_owned(),
        },
    })
    .await?;
    let daemon = Arc::new(daemon);
    let deployment_id = store.deployment_id(clock.now()).await?;
    let server = Server::new(ServerParts {
        store: store.clone(),
        daemon: Arc::clone(&daemon),
        hubs: hubs.clone(),
        workspaces: workspaces.clone(),
        registry,
        presets,
        egress,
        clock,
        config: ServerConfig {
            access_url: access_url.clone(),
            version: VERSION.to_owned(),
            deployment_id,
            rates: Rates {
                requests: settings.rate_requests,
                logins: settings.rate_logins,
                logins_per_address: settings.rate_logins_address,
                files: settings.rate_files,
            },
            connections: ConnectionLimits {
                per_address: settings.connections_per_address,
                streams_per_user: settings.streams_per_user,
                ..ConnectionLimits::default()
            },
            trusted_proxies,
            setup: setup.clone(),
        },
    });

    // this line is the last one: a program that waits for it has read all that matters at the start
    if let Some(demo) = &demo {
        println!("{}", demo.greeting(&access_url)?);
    }
    if let Some(words) = &left_behind {
        println!("{words}");
        tracing::warn!("the data folder is that of a demo, whose owner can sign in");
    }
    if let Some(setup) = &setup {
        println!("{}", setup::greeting(setup, &access_url)?);
    }
    println!("Listening on http://{address}");
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        async move { server.serve(listener, stop).await }
    });
    signals::stop_asked().await?;

    // the order matters: nobody new, nothing new, viewers elsewhere, then what runs, then what it stands on
    tracing::info!("stopping");
    server.not_ready();
    stop.cancel();
    hubs.shut_down();
    daemon.shut_down(Duration::from_secs(settings.daemon_drain_seconds)).await;
    match tokio::time::timeout(REQUEST_GRACE, serving).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!("some requests did not end in time"),
    }
    workspaces.shut_down().await;
    store.close().await;
    Ok(())
}

/// Listens on the first address of a host, IPv4 before IPv6: both is what `localhost` is.
async fn listen(host_and_port: &str) -> std::io::Result<TcpListener> {
    let mut addresses: Vec<_> = tokio::net::lookup_host(host_and_port).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&addresses[..]).await
}

/// Each connection takes a file descriptor, and the usual soft limit of 1,024 is there for programs that use
/// `select`: the server takes as many as it is allowed to.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

fn start_logging(settings: &Settings) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|error| {
        eprintln!("atelier: ATELIER_LOG is not a log filter ({error}); logging at info");
        EnvFilter::new("info,sqlx=warn")
    });
    let is_coloured =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_coloured).with_writer(std::io::stderr);
    // a second server in one process keeps the first one's log
    let _ = if settings.log_format == "json" { builder.json().try_init() } else { builder.try_init() };
}

/// The data folder can be walked by workspaces, its private part by nobody else.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> anyhow::Result<()> {
    let private = private_dir(data_dir);
    for (folder, mode) in [(data_dir, 0o711), (private.as_path(), 0o700)] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {} (ATELIER_DATA_DIR)", folder.display()))?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", folder.display()))?;
    }
    Ok(())
}

/// Where database and keys lie.
pub(crate) fn private_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("private")
}

/// SQLite's file.
fn database_file(data_dir: &Path) -> PathBuf {
    private_dir(data_dir).join("atelier.db")
}

/// Refuses a data folder whose database is gone, while other things show that there was one: a new database
/// would let anybody become its first user, and would know none of the workspaces.
pub(crate) fn refuse_lost_database(settings: &Settings, data_dir: &Path) -> anyhow::Result<()> {
    let file = database_file(data_dir);
    if settings.database_url.is_some() || std::fs::metadata(&file).is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    let keys = private_dir(data_dir).join("secret.keys");
    let host = data_dir.join("host_id");
    let workspaces = data_dir.join("workspaces");
    let has_workspaces = std::fs::read_dir(&workspaces).is_ok_and(|mut entries| entries.next().is_some());
    let left = if keys.exists() {
        keys
    } else if has_workspaces {
        workspaces
    } else if host.exists() {
        host
    } else {
        return Ok(());
    };
    bail!(
        "the database {} is missing or empty, but {} is left of it; restore the database from a backup (or set \
         ATELIER_DATABASE_URL if it is on PostgreSQL), or start once with --new-database to begin with an empty one",
        file.display(),
        left.display()
    );
}

pub(crate) async fn open_store(settings: &Settings, data_dir: &Path) -> anyhow::Result<Store> {
    let private = private_dir(data_dir);
    let database = match &settings.database_url {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Database::Postgres { url: url.clone() }
        }
        Some(_) => bail!("ATELIER_DATABASE_URL must begin with postgres://; leave it out for SQLite"),
        None => Database::Sqlite { file: database_file(data_dir) },
    };
    let secrets = match (&settings.secret_keys, settings.secrets.as_str()) {
        (_, "plaintext") => {
            tracing::warn!("secrets are stored without encryption (ATELIER_SECRETS=plaintext)");
            SecretsConfig::Plaintext
        }
        (Some(keys), _) => SecretsConfig::Keys(SecretString::new(keys.as_str())),
        (None, _) => SecretsConfig::File(private.join("secret.keys")),
    };
    let blobs = BlobsConfig {
        place: BlobPlace::from_name(&settings.file_store).context("ATELIER_FILE_STORE cannot be read")?,
        folder: settings.file_dir.clone().unwrap_or_else(|| private.join("files")),
        bucket: bucket(settings)?,
    };
    if blobs.place == BlobPlace::S3 && blobs.bucket.is_none() {
        bail!("ATELIER_FILE_STORE=s3 needs a bucket: set ATELIER_FILE_S3_URL=s3://BUCKET");
    }
    let name = match &database {
        Database::Sqlite { file } => format!("the database {} cannot be opened", file.display()),
        // its URL may hold a password
        Database::Postgres { .. } => "the database of ATELIER_DATABASE_URL cannot be opened".to_owned(),
    };
    Store::open(StoreConfig { database, secrets, blobs }).await.context(name)
}

/// The bucket of files, if there is one.
fn bucket(settings: &Settings) -> anyhow::Result<Option<BucketConfig>> {
    let Some(url) = &settings.file_s3_url else { return Ok(None) };
    let Some((name, prefix)) = url
        .strip_prefix("s3://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .filter(|(name, _)| !name.is_empty())
    else {
        bail!("ATELIER_FILE_S3_URL must be s3://BUCKET or s3://BUCKET/PREFIX, and is {url:?}");
    };
    let endpoint = settings.file_s3_endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    if endpoint.as_deref().is_some_and(|text| !text.starts_with("http://") && !text.starts_with("https://")) {
        bail!("ATELIER_FILE_S3_ENDPOINT must begin with http:// or https://");
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("AWS_"))
        .map(|(name, value)| (name, SecretString::new(value)))
        .collect();
    Ok(Some(BucketConfig { name: name.to_owned(), prefix: prefix.trim_matches('/').to_owned(), endpoint, variables }))
}

pub(crate) fn egress(settings: &Settings) -> anyhow::Result<Egress> {
    let policy: EgressPolicy = settings.egress_allow.parse().context("ATELIER_EGRESS_ALLOW cannot be read")?;
    Egress::new(policy).context("outgoing calls cannot be set up")
}

fn registry(settings: &Settings, egress: Egress, clock: SharedClock) -> ProviderRegistry {
    let is_scripted = settings.scripted_provider || settings.demo || settings.scripts_dir.is_some();
    let scripts = is_scripted.then(|| Scripts::new(settings.scripts_dir.clone()));
    ProviderRegistry::new(RegistryParts { egress, clock, scripts })
}

/// Keys and addresses from `ATELIER_PROVIDER_<TYPE>_API_KEY` and `_BASE_URL`.
fn presets() -> ProviderPresets {
    let variable = |kind: ProviderKind, suffix: &str| {
        let kind = kind.as_str().to_uppercase().replace('-', "_");
        std::env::var(format!("ATELIER_PROVIDER_{kind}_{suffix}")).ok().filter(|value| !value.trim().is_empty())
    };
    let presets = ProviderKind::ALL
        .into_iter()
        .filter(|kind| kind.has_adapter() && *kind != ProviderKind::Scripted)
        .filter_map(|kind| {
            let (key, base_url) = (variable(kind, "API_KEY"), variable(kind, "BASE_URL"));
            let is_set = if kind.requires_key() { key.is_some() } else { base_url.is_some() };
            is_set.then(|| ProviderPreset {
                provider: kind.as_str().to_owned(),
                api_key: key.map(SecretString::new),
                base_url,
            })
        })
        .collect();
    let keyless =
        ProviderKind::ALL.into_iter().filter(|kind| !kind.requires_key()).map(|kind| kind.as_str().to_owned());
    ProviderPresets { presets, keyless: keyless.collect() }
}

pub(crate) fn workspaces_config(settings: &Settings, data_dir: &Path) -> anyhow::Result<WorkspacesConfig> {
    let local = LocalSettings {
        data_dir: data_dir.to_owned(),
        agent_program: std::env::current_exe().context("the program does not know where it lies")?,
        sandbox: match settings.local_sandbox.as_str() {
            "bubblewrap" => SandboxChoice::Bubblewrap,
            "landlock" => SandboxChoice::Landlock,
            "off" => SandboxChoice::Off,
            _ => SandboxChoice::Auto,
        },
        host_network: HostNetwork::from_name(&settings.local_host_network).unwrap_or_default(),
        uid: settings.local_uid,
        extra_paths: settings.local_extra_paths.clone(),
        stop_grace: Duration::from_secs(30),
    };
    let policy: EgressPolicy =
        settings.workspace_egress_allow.parse().context("ATELIER_WORKSPACE_EGRESS_ALLOW cannot be read")?;
    Ok(WorkspacesConfig {
        outgoing: OutgoingSettings { dialer: Dialer::new(policy), ..OutgoingSettings::default() },
        demo: settings.demo,
        owner_workspace_shell: settings.owner_workspace_shell,
        disk_reserve_bytes: settings.disk_reserve_mb * 1024 * 1024,
        ..WorkspacesConfig::new(local)
    })
}

#[cfg(feature = "fault-injection")]
fn faults() -> Faults {
    std::env::var("ATELIER_FAULT").map_or_else(|_| Faults::none(), |plan| Faults::parse(&plan))
}

#[cfg(not(feature = "fault-injection"))]
fn faults() -> Faults {
    Faults::none()
}
