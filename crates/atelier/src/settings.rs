//! All settings of the server, from one struct: flags, environment and a TOML file.
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. The names
//! in the file are those of the flags with underscores (`http_address = "0.0.0.0:3000"`). The reference
//! page `docs/reference/settings.md` is generated from here.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Command, FromArgMatches as _};

mod values;

/// Names of settings that hold secrets: never printed.
const SECRET: [&str; 3] = ["secret_keys", "database_url", "setup_code"];

/// Settings of `atelier server`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// TOML file with these settings
    #[arg(long, env = "ATELIER_CONFIG", value_name = "FILE", value_parser = values::whole_path)]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free one and prints it
    #[arg(long, env = "ATELIER_HTTP_ADDRESS", default_value = "127.0.0.1:3000", value_name = "ADDRESS",
          value_parser = values::host_and_port)]
    pub(crate) http_address: String,

    /// URL under which people reach the server, without a path [default: http:// and the address it listens on]
    #[arg(long, env = "ATELIER_ACCESS_URL", value_name = "URL", value_parser = values::site_url)]
    pub(crate) access_url: Option<String>,

    /// Folder for the database, keys and workspaces [default: /var/lib/atelier as root, else $XDG_DATA_HOME/atelier]
    #[arg(long, env = "ATELIER_DATA_DIR", value_name = "FOLDER", value_parser = values::whole_path)]
    pub(crate) data_dir: Option<PathBuf>,

    /// postgres://... for PostgreSQL [default: SQLite in the data folder]
    #[arg(long, env = "ATELIER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,

    /// Addresses that outgoing calls may reach beside public ones: loopback, private, CIDRs, host or host:port
    #[arg(long, env = "ATELIER_EGRESS_ALLOW", default_value = "", value_name = "LIST")]
    pub(crate) egress_allow: String,

    /// Keys that seal secrets at rest: base64 of 32 bytes each, comma separated, the first one encrypts
    /// [default: secret.keys in the data folder, made at the first start]
    #[arg(long, env = "ATELIER_SECRET_KEYS", value_name = "KEYS", hide_env_values = true)]
    pub(crate) secret_keys: Option<String>,

    /// What the first user is created with: 16 or more letters, digits, - and _ [default: made by the first start,
    /// printed until there is a user]
    #[arg(long, env = "ATELIER_SETUP_CODE", value_name = "CODE", hide_env_values = true)]
    pub(crate) setup_code: Option<String>,

    /// How secrets lie in the database: encrypted or plaintext
    #[arg(long, env = "ATELIER_SECRETS", default_value = "encrypted", value_parser = ["encrypted", "plaintext"])]
    pub(crate) secrets: String,

    /// How local workspaces are shut in: auto, bubblewrap, landlock or off
    #[arg(long, env = "ATELIER_LOCAL_SANDBOX", default_value = "auto",
          value_parser = ["auto", "bubblewrap", "landlock", "off"])]
    pub(crate) local_sandbox: String,

    /// May local workspaces use the host's network: fallback (policy `open` where there is no pasta), allow
    /// (also the policy `host`) or refuse
    #[arg(long, env = "ATELIER_LOCAL_HOST_NETWORK", default_value = "fallback",
          value_parser = ["fallback", "allow", "refuse"])]
    pub(crate) local_host_network: String,

    /// First user id of local workspaces when the server runs as root; each has its own among this and the next 9,999
    #[arg(long, env = "ATELIER_LOCAL_UID", default_value_t = 10_000, value_name = "UID",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) local_uid: u32,

    /// Megabytes of the data folder's disk that are set aside for the server; when it is nearly full, no workspace
    /// starts and the one that grew most is stopped; 0 = off
    #[arg(long, env = "ATELIER_DISK_RESERVE_MB", default_value_t = 256, value_name = "N",
          value_parser = clap::value_parser!(u64).range(0..=1_048_576))]
    pub(crate) disk_reserve_mb: u64,

    /// Folders that templates of the local driver may show read-only (`spec.local.extra_paths`)
    #[arg(long, env = "ATELIER_LOCAL_EXTRA_PATHS", value_delimiter = ',', value_name = "FOLDERS",
          value_parser = values::whole_path)]
    pub(crate) local_extra_paths: Vec<PathBuf>,

    /// Addresses beside public ones that workspaces of the network policy `allowlist` may reach where their
    /// template lists the host; entries as of ATELIER_EGRESS_ALLOW
    #[arg(long, env = "ATELIER_WORKSPACE_EGRESS_ALLOW", default_value = "", value_name = "LIST")]
    pub(crate) workspace_egress_allow: String,

    /// The site owner may use the shells of others' workspaces
    #[arg(long, env = "ATELIER_OWNER_WORKSPACE_SHELL", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) owner_workspace_shell: bool,

    /// Folder with scripts of the scripted model, beside the built-in ones
    #[arg(long, env = "ATELIER_SCRIPTS_DIR", value_name = "FOLDER", value_parser = values::whole_path)]
    pub(crate) scripts_dir: Option<PathBuf>,

    /// Offer the scripted model as a provider (also on with --demo or a scripts folder)
    #[arg(long, env = "ATELIER_SCRIPTED_PROVIDER", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) scripted_provider: bool,

    /// Set up a demo user, template and model that need no key
    #[arg(long, env = "ATELIER_DEMO", default_value_t = false, action = clap::ArgAction::SetTrue)]
    pub(crate) demo: bool,

    /// What is logged: a level, or filters as of tracing's EnvFilter
    #[arg(long, env = "ATELIER_LOG", default_value = "info,sqlx=warn", value_name = "FILTER")]
    pub(crate) log: String,

    /// Form of the log: text or json
    #[arg(long, env = "ATELIER_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub(crate) log_format: String,

    /// Where the bytes of new files are kept: database, directory, or s3; a change moves nothing
    #[arg(long, env = "ATELIER_FILE_STORE", default_value = "database", value_parser = ["database", "directory", "s3"],
          value_name = "PLACE")]
    pub(crate) file_store: String,

    /// Folder of files (default: private/files in the data folder); replicas share it
    #[arg(long, env = "ATELIER_FILE_DIR", value_name = "FOLDER", value_parser = values::whole_path)]
    pub(crate) file_dir: Option<PathBuf>,

    /// Bucket of files, s3://BUCKET or s3://BUCKET/PREFIX; region and credentials as AWS_* variables
    #[arg(long, env = "ATELIER_FILE_S3_URL", value_name = "URL")]
    pub(crate) file_s3_url: Option<String>,

    /// Address of an S3-compatible server that is not AWS
    #[arg(long, env = "ATELIER_FILE_S3_ENDPOINT", value_name = "URL")]
    pub(crate) file_s3_endpoint: Option<String>,

    /// Uploads of files a minute and user; 0 = no limit
    #[arg(long, env = "ATELIER_RATE_FILES", default_value_t = 120, value_name = "N")]
    pub(crate) rate_files: u32,

    /// Requests a minute and user (anonymous: address); 0 = no limit
    #[arg(long, env = "ATELIER_RATE_REQUESTS", default_value_t = 1200, value_name = "N")]
    pub(crate) rate_requests: u32,

    /// Logins a minute, address and email; 0 = no limit
    #[arg(long, env = "ATELIER_RATE_LOGINS", default_value_t = 10, value_name = "N")]
    pub(crate) rate_logins: u32,

    /// Logins a minute and address, whatever the email; 0 = no limit
    #[arg(long, env = "ATELIER_RATE_LOGINS_ADDRESS", default_value_t = 60, value_name = "N")]
    pub(crate) rate_logins_address: u32,

    /// Connections of one address at the same time; 0 = no limit
    #[arg(long, env = "ATELIER_CONNECTIONS_PER_ADDRESS", default_value_t = 1000, value_name = "N")]
    pub(crate) connections_per_address: usize,

    /// Streams of one user at the same time; 0 = no limit
    #[arg(long, env = "ATELIER_STREAMS_PER_USER", default_value_t = 200, value_name = "N")]
    pub(crate) streams_per_user: usize,

    /// Reverse proxies in front of the server, addresses or CIDRs: their X-Forwarded-For says who the client is
    #[arg(long, env = "ATELIER_TRUSTED_PROXIES", default_value = "", value_name = "LIST")]
    pub(crate) trusted_proxies: String,

    /// Turns that run at the same time on this replica
    #[arg(long, env = "ATELIER_DAEMON_SLOTS", default_value_t = 256, value_name = "N")]
    pub(crate) daemon_slots: usize,

    /// Turns of one user that run at the same time
    #[arg(long, env = "ATELIER_DAEMON_SLOTS_PER_USER", default_value_t = 16, value_name = "N")]
    pub(crate) daemon_slots_per_user: usize,

    /// Seconds that running turns get to end when the server stops
    #[arg(long, env = "ATELIER_DAEMON_DRAIN_SECONDS", default_value_t = 20, value_name = "SECONDS")]
    pub(crate) daemon_drain_seconds: u64,
}

impl Settings {
    /// The settings of a server that is started here without flags.
    pub(crate) fn of_environment() -> anyhow::Result<Self> {
        let arguments = ["atelier", "server"].map(OsString::from);
        let command = Command::new("atelier").subcommand(arguments_of_server());
        let mut matches = with_file_defaults(command, &arguments)?.try_get_matches_from(arguments)?;
        let (_, mut matches) = matches.remove_subcommand().context("the subcommand is given")?;
        Ok(Self::from_arg_matches_mut(&mut matches)?)
    }

    /// The data folder: as set, or where it belongs for this user. A demo has one of its own, so that its owner
    /// and its model never become those of a real server.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.data_dir {
            return std::path::absolute(folder).context("the data folder has no absolute path");
        }
        let name = if self.demo { "atelier-demo" } else { "atelier" };
        if rustix::process::geteuid().is_root() {
            return Ok(Path::new("/var/lib").join(name));
        }
        let base = match std::env::var_os("XDG_DATA_HOME") {
            Some(folder) if !folder.is_empty() => PathBuf::from(folder),
            _ => PathBuf::from(std::env::var_os("HOME").context("neither ATELIER_DATA_DIR nor HOME is set")?)
                .join(".local/share"),
        };
        Ok(base.join(name))
    }
}

/// Gives `command` (or its subcommand `server`) the values of the settings file as defaults.
///
/// The file is the one named by `--config` in `arguments` or by `ATELIER_CONFIG`.
///
/// # Errors
/// An unreadable file, or a name that is not a setting.
pub(crate) fn with_file_defaults(command: Command, arguments: &[OsString]) -> anyhow::Result<Command> {
    // only these two have settings; a bad file must not keep anybody from `atelier chat`
    let subcommand = arguments.get(1).and_then(|argument| argument.to_str());
    let Some(subcommand) = subcommand.filter(|name| ["server", "doctor"].contains(name)) else { return Ok(command) };
    let Some(file) = config_file(arguments) else { return Ok(command) };
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read the settings file {}", file.display()))?;
    let values = parse_file(&text, &file)?;
    Ok(command.mut_subcommand(subcommand, |mut command| {
        for (name, value) in values {
            command = command.mut_arg(name, |arg| arg.default_value(value).required(false));
        }
        command
    }))
}

fn config_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else { continue };
        if text == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(file) = text.strip_prefix("--config=") {
            return Some(file.into());
        }
    }
    std::env::var_os("ATELIER_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
}

fn parse_file(text: &str, file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let table: toml::Table =
        text.parse().with_context(|| format!("the settings file {} is not valid TOML", file.display()))?;
    let known: Vec<String> = arguments_of_server().get_arguments().map(|arg| arg.get_id().to_string()).collect();
    let mut values = Vec::new();
    for (name, value) in table {
        if name == "config" || !known.contains(&name) {
            bail!(
                "{}: {name} is not a setting; known are {}",
                file.display(),
                known.iter().filter(|name| *name != "config").cloned().collect::<Vec<_>>().join(", ")
            );
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Boolean(_) => value.to_string(),
            toml::Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(","),
            other => bail!("{}: {name} cannot be a {}", file.display(), other.type_str()),
        };
        values.push((name, value));
    }
    Ok(values)
}

fn arguments_of_server() -> Command {
    Settings::augment_args(Command::new("server"))
}

/// The reference page of all settings, in Markdown.
pub(crate) fn reference_page() -> String {
    let mut page = String::from(
        "# Settings of the server\n\n\
         Generated by `./dev generate` from `crates/atelier/src/settings.rs`.\n\
         A flag beats the environment, the environment beats the file named by `--config` or `ATELIER_CONFIG`.\n\
         In the file a setting has the flag's name with underscores, for instance `http_address = \"0.0.0.0:3000\"`.\n\n\
         | flag | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for argument in arguments_of_server().get_arguments() {
        let (Some(long), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ");
        let default = if default == "``" { String::new() } else { default };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        let secret = if SECRET.contains(&argument.get_id().as_str()) { " Secret." } else { "" };
        let _ = writeln!(page, "| `--{long}` | `{}` | {default} | {help}.{secret} |", variable.to_string_lossy());
    }
    page.push_str(
        "\nKeys and addresses of providers can also be preset, for every type but `bedrock`: \
         `ATELIER_PROVIDER_<TYPE>_API_KEY` and `ATELIER_PROVIDER_<TYPE>_BASE_URL` (`-` becomes `_`). \
         They are never stored and belong to the provider whose name equals its type.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_defaults_and_unknown_names_are_refused() {
        let file = Path::new("a.toml");
        let values = parse_file("http_address = \"127.0.0.1:0\"\nrate_requests = 0\n", file).unwrap();
        assert_eq!(values, [("http_address".into(), "127.0.0.1:0".into()), ("rate_requests".into(), "0".to_owned())]);
        let error = parse_file("htp_address = \"x\"", file).unwrap_err().to_string();
        assert!(error.contains("htp_address is not a setting") && error.contains("http_address"), "{error}");
    }

    #[test]
    fn the_reference_names_every_setting() {
        let page = reference_page();
        for argument in arguments_of_server().get_arguments() {
            assert!(page.contains(&format!("--{}", argument.get_long().unwrap())), "{argument:?}");
        }
    }
}
