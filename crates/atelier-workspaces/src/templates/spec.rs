//! The `[spec]` part of a template, checked whole.

use std::collections::BTreeMap;
use std::path::PathBuf;

use atelier_egress::EgressPolicy;
use serde_json::{Map, Value, json};

use super::check::{branch_fault, env_name_fault, extra_path_fault, folder_fault, home_folder_fault, repository_fault};
use super::document::{Fault, Node, NodeValue, Section};
use super::hosts::host_pattern_fault;
use super::interpolation::{self, Facts};
use super::parameters::{self, Parameter};
use super::{DRIVER_LOCAL, interpolation::names_in_script};

/// The repository that comes with the program, for the demo.
pub const BUILTIN_DEMO: &str = "builtin:demo";

const SPEC_BYTES: usize = 512 * 1024;
const SCRIPT_BYTES: usize = 64 * 1024;
const ENV_NAMES: usize = 256;
const ENV_VALUE_BYTES: usize = 32 * 1024;
const EXTRA_PATHS: usize = 64;
const HOSTS: usize = 256;
const DAY_MS: i64 = 86_400_000;

/// What this server allows and can do.
#[derive(Clone, Debug, Default)]
pub struct SpecRules {
    /// `builtin:demo` may be cloned.
    pub demo: bool,
    /// Host folders that `local.extra_paths` may lie under.
    pub extra_path_roots: Vec<PathBuf>,
    /// Whether the driver can take the network away.
    pub network_isolation: bool,
    /// Whether the driver can give a network without the host.
    pub private_network: bool,
    pub host_network: HostNetwork,
    /// What may be dialled for workspaces; absent = not checked.
    pub outgoing: Option<EgressPolicy>,
}

/// A specification as it comes over the wire.
#[derive(Clone, Copy, Debug)]
pub enum SpecSource<'a> {
    Json(&'a Value),
    /// The `[spec]` part as TOML text (`spec_format = "toml"`).
    Toml(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    pub url: String,
    pub branch: Option<String>,
    pub path: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    pub cpu: Option<f64>,
    pub memory_mb: Option<i64>,
    pub pids: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkPolicy {
    /// The internet, and nothing of the host.
    Open,
    /// The host's network.
    Host,
    None,
    Allowlist,
}

impl NetworkPolicy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Host => "host",
            Self::None => "none",
            Self::Allowlist => "allowlist",
        }
    }
}

/// The setting `ATELIER_LOCAL_HOST_NETWORK`: may workspaces use the host's network?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNetwork {
    /// Those of the policy `open`, where no network of their own can be made; with a warning.
    #[default]
    Fallback,
    /// The same, and those of the policy `host`.
    Allow,
    /// None.
    Refuse,
}

impl HostNetwork {
    /// The setting's value with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "fallback" => Self::Fallback,
            "allow" => Self::Allow,
            "refuse" => Self::Refuse,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autostop {
    /// 0 = never.
    pub default_ttl_ms: i64,
    pub user_autostop_enabled: bool,
    pub activity_bump_ms: i64,
    /// 0 = no bound.
    pub max_lifetime_ms: i64,
}

impl Default for Autostop {
    fn default() -> Self {
        Self { default_ttl_ms: 0, user_autostop_enabled: true, activity_bump_ms: 3_600_000, max_lifetime_ms: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desktop {
    pub enabled: bool,
    pub width: i64,
    pub height: i64,
    pub record: bool,
}

impl Default for Desktop {
    fn default() -> Self {
        Self { enabled: true, width: 1920, height: 1080, record: false }
    }
}

/// The section of the local driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSection {
    /// Host paths shown read-only.
    pub extra_paths: Vec<String>,
}

/// A checked specification. String values may still hold `${...}`; see [`TemplateSpec::resolve`].
#[derive(Clone, Debug)]
pub struct TemplateSpec {
    pub directory: Option<String>,
    pub startup_script: Option<String>,
    pub shutdown_script: Option<String>,
    pub startup_timeout_ms: i64,
    pub env: Vec<(String, String)>,
    pub repository: Option<Repository>,
    pub resources: Resources,
    pub network_policy: NetworkPolicy,
    pub allow_hosts: Vec<String>,
    pub autostop: Autostop,
    pub desktop: Desktop,
    pub parameters: Vec<Parameter>,
    pub local: LocalSection,
}

/// A specification with the values of one workspace put in.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSpec {
    pub directory: Option<String>,
    pub startup_script: Option<String>,
    pub shutdown_script: Option<String>,
    pub startup_timeout_ms: i64,
    pub env: Vec<(String, String)>,
    pub repository: Option<Repository>,
    pub resources: Resources,
    pub network_policy: NetworkPolicy,
    pub extra_paths: Vec<PathBuf>,
    /// Scripts read them as `ATELIER_PARAM_<NAME>`.
    pub parameters: BTreeMap<String, String>,
}

impl TemplateSpec {
    /// Reads and checks a specification. Returns it with the JSON object to store.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(driver: &str, source: SpecSource<'_>, rules: &SpecRules) -> Result<(Self, Value), Vec<Fault>> {
        let mut root = match source {
            SpecSource::Json(value) => Node::from_json(value),
            SpecSource::Toml(text) if text.len() > SPEC_BYTES => {
                return Err(vec![Fault::new("spec", format!("must be at most {SPEC_BYTES} bytes"))]);
            }
            SpecSource::Toml(text) => Node::from_toml(text).map_err(|fault| vec![fault])?,
        };
        // Text that still has its `[spec]` header means the same.
        if let (SpecSource::Toml(_), NodeValue::Table(entries)) = (source, &mut root.value)
            && entries.len() == 1
            && entries[0].0 == "spec"
        {
            root = entries.remove(0).1;
        }
        let mut faults = Vec::new();
        let json = root.to_json();
        if json.to_string().len() > SPEC_BYTES {
            faults.push(Fault::new("spec", format!("must be at most {SPEC_BYTES} bytes")));
            return Err(faults);
        }
        let spec = Self::read(driver, &root, rules, &mut faults);
        if faults.is_empty() { Ok((spec, json)) } else { Err(faults) }
    }

    /// Reads a stored specification, for what it says: also one that no longer fits this server.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let rules = SpecRules {
            demo: true,
            extra_path_roots: vec!["/".into()],
            network_isolation: true,
            private_network: true,
            host_network: HostNetwork::Allow,
            outgoing: None,
        };
        Self::parse(DRIVER_LOCAL, SpecSource::Json(&value), &rules).ok().map(|(spec, _)| spec)
    }

    fn read(driver: &str, root: &Node, rules: &SpecRules, faults: &mut Vec<Fault>) -> Self {
        if driver != DRIVER_LOCAL {
            let detail = match driver {
                "docker" | "kubernetes" => {
                    format!("the driver {driver} is not available in this server; there is local")
                }
                _ => "must be local".to_owned(),
            };
            faults.push(Fault::new("driver", detail));
        }
        let mut section = Section::of("spec", root, faults);
        let parameters = parameters::read(&mut section, faults);
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let mut values = Values { parameters: &names, faults };

        let directory = values.string(&mut section, "directory", folder_fault);
        let startup_script = values.script(&mut section, "startup_script");
        let shutdown_script = values.script(&mut section, "shutdown_script");
        let startup_timeout_ms = section.integer("startup_timeout_ms", 1000..=DAY_MS, values.faults).unwrap_or(600_000);
        let env = values.env(&mut section);
        let repository = values.repository(&mut section, rules.demo);
        let resources = read_resources(&mut section, values.faults);
        let (network_policy, allow_hosts) = values.network(&mut section, rules);
        let autostop = read_autostop(&mut section, values.faults);
        let desktop = read_desktop(&mut section, values.faults);
        let local = values.local(driver, &mut section, rules);
        for other in ["docker", "kubernetes"] {
            if let Some(node) = section.take(other) {
                let detail = if driver == other {
                    format!("the driver {other} is not available in this server")
                } else {
                    format!("is not a section of the driver {driver}")
                };
                faults.push(node.fault(format!("spec.{other}"), detail));
            }
        }
        section.finish(faults);
        Self {
            directory,
            startup_script,
            shutdown_script,
            startup_timeout_ms,
            env,
            repository,
            resources,
            network_policy,
            allow_hosts,
            autostop,
            desktop,
            parameters,
            local,
        }
    }

    /// Puts the values of a workspace in and checks again what depends on them.
    ///
    /// # Errors
    /// All values that are not good where they are used.
    pub fn resolve(
        &self,
        facts: &Facts,
        parameters: &BTreeMap<String, String>,
        rules: &SpecRules,
    ) -> Result<ResolvedSpec, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut put = |field: &str, value: &str, check: &dyn Fn(&str) -> Option<String>| match interpolation::substitute(
            value, facts, parameters,
        ) {
            Ok(value) => {
                if let Some(fault) = check(&value) {
                    faults.push(Fault::new(field, fault));
                }
                value
            }
            Err(fault) => {
                faults.push(Fault::new(field, fault));
                String::new()
            }
        };
        let owned = |check: fn(&str) -> Option<&'static str>| move |value: &str| check(value).map(str::to_owned);
        let directory = self.directory.as_ref().map(|value| put("spec.directory", value, &owned(folder_fault)));
        let env = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), put(&format!("spec.env.{name}"), value, &|_| None)))
            .collect();
        let repository = self.repository.as_ref().map(|repository| Repository {
            url: put("spec.repository.url", &repository.url, &|url| {
                if url == BUILTIN_DEMO { demo_fault(rules.demo) } else { repository_fault(url).map(str::to_owned) }
            }),
            branch: repository.branch.as_ref().map(|value| put("spec.repository.branch", value, &owned(branch_fault))),
            path: repository.path.as_ref().map(|value| put("spec.repository.path", value, &owned(home_folder_fault))),
        });
        let extra_paths = self
            .local
            .extra_paths
            .iter()
            .enumerate()
            .map(|(index, value)| {
                put(&format!("spec.local.extra_paths[{index}]"), value, &|path| {
                    extra_path_fault(path, &rules.extra_path_roots)
                })
                .into()
            })
            .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(ResolvedSpec {
            directory,
            startup_script: self.startup_script.clone(),
            shutdown_script: self.shutdown_script.clone(),
            startup_timeout_ms: self.startup_timeout_ms,
            env,
            repository,
            resources: self.resources,
            network_policy: self.network_policy,
            extra_paths,
            parameters: parameters.clone(),
        })
    }

    /// The parameters as clients see them.
    #[must_use]
    pub fn parameters_json(&self) -> Vec<Value> {
        self.parameters.iter().map(Parameter::to_json).collect()
    }
}

/// The stored specification as readers without write right get it: no values of `env`, no scripts, no
/// default of a sensitive parameter.
#[must_use]
pub fn redact_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let Value::Object(object) = &mut spec else { return spec };
    object.remove("startup_script");
    object.remove("shutdown_script");
    if let Some(Value::Object(env)) = object.get_mut("env") {
        for value in env.values_mut() {
            *value = json!("");
        }
    }
    if let Some(Value::Array(parameters)) = object.get_mut("parameters") {
        for parameter in parameters.iter_mut().filter_map(Value::as_object_mut) {
            if parameter.get("sensitive") == Some(&Value::Bool(true)) {
                parameter.remove("default");
            }
        }
    }
    spec
}

/// Reads values in which `${...}` works.
struct Values<'a> {
    parameters: &'a [&'a str],
    faults: &'a mut Vec<Fault>,
}

impl Values<'_> {
    /// Checks the names in a value, and the value itself when nothing is put in.
    fn check(&mut self, path: &str, node: &Node, value: &str, check: impl Fn(&str) -> Option<String>) {
        for fault in interpolation::faults(value, self.parameters) {
            self.faults.push(node.fault(path, fault));
        }
        // `$${` stays in the way of a plain check only where no good value could hold it.
        if interpolation::is_plain(value)
            && let Some(fault) = check(value)
        {
            self.faults.push(node.fault(path, fault));
        }
    }

    fn string(
        &mut self,
        section: &mut Section<'_>,
        name: &'static str,
        check: fn(&str) -> Option<&'static str>,
    ) -> Option<String> {
        let value = section.string(name, self.faults)?;
        let node = section.take(name)?;
        self.check(&section.path(name), node, &value, |value| check(value).map(str::to_owned));
        Some(value)
    }

    fn script(&mut self, section: &mut Section<'_>, name: &'static str) -> Option<String> {
        let script = section.string(name, self.faults)?;
        let node = section.take(name)?;
        let path = section.path(name);
        if script.len() > SCRIPT_BYTES {
            self.faults.push(node.fault(&path, format!("must be at most {SCRIPT_BYTES} bytes")));
        }
        for used in names_in_script(&script) {
            let hint = used
                .strip_prefix("param.")
                .map(|name| format!("; read ${}", parameters::parameter_variable(name)))
                .unwrap_or_default();
            self.faults.push(node.fault(&path, format!("${{{used}}}: nothing is put into scripts{hint}")));
        }
        Some(script)
    }

    fn env(&mut self, section: &mut Section<'_>) -> Vec<(String, String)> {
        let Some(env) = section.section("env", self.faults) else { return Vec::new() };
        let mut variables = Vec::new();
        for (name, node) in env.entries() {
            let path = env.path(name);
            if let Some(fault) = env_name_fault(name) {
                self.faults.push(node.fault(&path, fault));
            }
            match &node.value {
                NodeValue::String(value) if value.contains('\0') => {
                    self.faults.push(node.fault(&path, "must not contain U+0000"));
                }
                NodeValue::String(value) if value.len() > ENV_VALUE_BYTES => {
                    self.faults.push(node.fault(&path, format!("must be at most {ENV_VALUE_BYTES} bytes")));
                }
                NodeValue::String(value) => {
                    self.check(&path, node, value, |_| None);
                    variables.push((name.to_owned(), value.clone()));
                }
                _ => self.faults.push(node.wrong_type(&path, "a string")),
            }
        }
        if variables.len() > ENV_NAMES {
            self.faults.push(Fault::new("spec.env", format!("at most {ENV_NAMES} variables")));
        }
        variables
    }

    fn repository(&mut self, section: &mut Section<'_>, demo: bool) -> Option<Repository> {
        let node = section.take("repository")?;
        let mut repository = section.section("repository", self.faults)?;
        let url = repository.string("url", self.faults);
        let path = repository.path("url");
        match (&url, repository.take("url")) {
            (Some(url), Some(node)) => self.check(&path, node, url, |url| {
                if url == BUILTIN_DEMO { demo_fault(demo) } else { repository_fault(url).map(str::to_owned) }
            }),
            (None, Some(_)) => {}
            (_, None) => self.faults.push(node.fault(path, "is missing")),
        }
        let branch = self.string(&mut repository, "branch", branch_fault);
        let path = self.string(&mut repository, "path", home_folder_fault);
        repository.finish(self.faults);
        Some(Repository { url: url?, branch, path })
    }

    fn network(&mut self, section: &mut Section<'_>, rules: &SpecRules) -> (NetworkPolicy, Vec<String>) {
        let Some(mut network) = section.section("network", self.faults) else {
            if let Some(fault) = policy_fault(NetworkPolicy::Open, rules) {
                self.faults.push(Fault::new("spec.network.policy", fault));
            }
            return (NetworkPolicy::Open, Vec::new());
        };
        let policy_path = network.path("policy");
        let policy = network.string("policy", self.faults);
        let node = network.take("policy");
        let named = match policy.as_deref() {
            None | Some("open") => Some(NetworkPolicy::Open),
            Some("host") => Some(NetworkPolicy::Host),
            Some("none") => Some(NetworkPolicy::None),
            Some("allowlist") => Some(NetworkPolicy::Allowlist),
            Some(_) => None,
        };
        let fault = match named {
            Some(policy) => policy_fault(policy, rules),
            None => Some("must be open, none, allowlist or host"),
        };
        if let Some(detail) = fault {
            self.faults.push(match node {
                Some(node) => node.fault(&policy_path, detail),
                None => Fault::new(&policy_path, detail),
            });
        }
        let policy = named.unwrap_or(NetworkPolicy::Open);
        let hosts = network.strings("allow_hosts", self.faults);
        if hosts.len() > HOSTS {
            self.faults.push(Fault::new("spec.network.allow_hosts", format!("at most {HOSTS} hosts")));
        }
        match (hosts.is_empty(), policy) {
            (false, NetworkPolicy::Open | NetworkPolicy::Host | NetworkPolicy::None) => {
                self.faults.push(Fault::new("spec.network.allow_hosts", "is for the policy allowlist only"));
            }
            (true, NetworkPolicy::Allowlist) => {
                self.faults.push(Fault::new("spec.network.allow_hosts", "must list a host; use none to allow none"));
            }
            _ => {}
        }
        let mut allow_hosts = Vec::new();
        for (path, node, host) in hosts {
            self.check(&path, node, &host, |host| host_pattern_fault(host, rules.outgoing.as_ref()).map(str::to_owned));
            allow_hosts.push(host);
        }
        network.finish(self.faults);
        (policy, allow_hosts)
    }

    fn local(&mut self, driver: &str, section: &mut Section<'_>, rules: &SpecRules) -> LocalSection {
        let Some(mut local) = section.section("local", self.faults) else { return LocalSection::default() };
        if matches!(driver, "docker" | "kubernetes")
            && let Some(node) = section.take("local")
        {
            self.faults.push(node.fault("spec.local", format!("is not a section of the driver {driver}")));
        }
        let paths = local.strings("extra_paths", self.faults);
        if paths.len() > EXTRA_PATHS {
            self.faults.push(Fault::new("spec.local.extra_paths", format!("at most {EXTRA_PATHS} paths")));
        }
        let mut extra_paths = Vec::new();
        for (field, node, path) in paths {
            self.check(&field, node, &path, |path| extra_path_fault(path, &rules.extra_path_roots));
            extra_paths.push(path);
        }
        local.finish(self.faults);
        LocalSection { extra_paths }
    }
}

fn demo_fault(allowed: bool) -> Option<String> {
    (!allowed).then(|| "builtin:demo is there in a server started with --demo only".to_owned())
}

/// Why this server cannot keep a network policy.
fn policy_fault(policy: NetworkPolicy, rules: &SpecRules) -> Option<&'static str> {
    match policy {
        NetworkPolicy::None | NetworkPolicy::Allowlist if !rules.network_isolation => {
            Some("this server cannot take the network away; install bubblewrap, or use open")
        }
        NetworkPolicy::Open if !rules.private_network && rules.host_network == HostNetwork::Refuse => Some(
            "open needs a network without the host, which this server cannot make; install pasta (package passt), or \
             use none or allowlist",
        ),
        NetworkPolicy::Host if rules.host_network != HostNetwork::Allow => {
            Some("this server does not give its own network away (ATELIER_LOCAL_HOST_NETWORK); use open")
        }
        NetworkPolicy::Open | NetworkPolicy::Host | NetworkPolicy::None | NetworkPolicy::Allowlist => None,
    }
}

fn read_resources(section: &mut Section<'_>, faults: &mut Vec<Fault>) -> Resources {
    let Some(mut resources) = section.section("resources", faults) else { return Resources::default() };
    let path = resources.path("cpu");
    let cpu = resources.number("cpu", faults);
    if cpu.is_some_and(|cpu| !(0.01..=1024.0).contains(&cpu))
        && let Some(node) = resources.take("cpu")
    {
        faults.push(node.fault(path, "must be between 0.01 and 1024"));
    }
    let memory_mb = resources.integer("memory_mb", 16..=16 * 1024 * 1024, faults);
    let pids = resources.integer("pids", 16..=4_194_304, faults);
    resources.finish(faults);
    Resources { cpu, memory_mb, pids }
}

fn read_autostop(section: &mut Section<'_>, faults: &mut Vec<Fault>) -> Autostop {
    let default = Autostop::default();
    let Some(mut autostop) = section.section("autostop", faults) else { return default };
    let mut span = |name: &'static str, least: i64, otherwise: i64, faults: &mut Vec<Fault>| {
        let value = autostop.integer(name, 0..=365 * DAY_MS, faults).unwrap_or(otherwise);
        if value != 0
            && value < least
            && let Some(node) = autostop.take(name)
        {
            faults.push(node.fault(autostop.path(name), format!("must be 0 or at least {least}")));
        }
        value
    };
    let default_ttl_ms = span("default_ttl_ms", 60_000, default.default_ttl_ms, faults);
    let activity_bump_ms = span("activity_bump_ms", 0, default.activity_bump_ms, faults);
    let max_lifetime_ms = span("max_lifetime_ms", 60_000, default.max_lifetime_ms, faults);
    let user_autostop_enabled = autostop.boolean("user_autostop_enabled", true, faults);
    autostop.finish(faults);
    Autostop { default_ttl_ms, user_autostop_enabled, activity_bump_ms, max_lifetime_ms }
}

fn read_desktop(section: &mut Section<'_>, faults: &mut Vec<Fault>) -> Desktop {
    let default = Desktop::default();
    let Some(mut desktop) = section.section("desktop", faults) else { return default };
    let read = Desktop {
        enabled: desktop.boolean("enabled", default.enabled, faults),
        width: desktop.integer("width", 320..=7680, faults).unwrap_or(default.width),
        height: desktop.integer("height", 240..=4320, faults).unwrap_or(default.height),
        record: desktop.boolean("record", default.record, faults),
    };
    desktop.finish(faults);
    read
}

/// Fields of a template that every reader sees beside the specification.
impl TemplateSpec {
    #[must_use]
    pub fn summary(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("default_ttl_ms".into(), json!(self.autostop.default_ttl_ms));
        fields.insert("user_autostop_enabled".into(), json!(self.autostop.user_autostop_enabled));
        fields.insert("desktop_enabled".into(), json!(self.desktop.enabled));
        fields.insert("network_policy".into(), json!(self.network_policy.as_str()));
        fields
    }
}
