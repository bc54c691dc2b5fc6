//! W58 and W59: wrong templates give every fault at once, and parameters run nothing.

use std::collections::BTreeMap;

use atelier_egress::EgressPolicy;
use atelier_workspaces::templates::{
    Facts, Fault, HostNetwork, NetworkPolicy, SpecRules, SpecSource, TemplateSpec, parameter_variable, redact_spec,
    resolve_parameters,
};
use serde_json::{Value, json};

fn rules() -> SpecRules {
    SpecRules {
        extra_path_roots: vec!["/opt".into()],
        network_isolation: true,
        private_network: true,
        outgoing: Some(EgressPolicy::default()),
        ..SpecRules::default()
    }
}

fn parse(spec: &Value) -> Result<TemplateSpec, Vec<Fault>> {
    TemplateSpec::parse("local", SpecSource::Json(spec), &rules()).map(|(spec, _)| spec)
}

fn faults(spec: &Value) -> Vec<(String, String)> {
    parse(spec).unwrap_err().into_iter().map(|fault| (fault.field, fault.detail)).collect()
}

#[track_caller]
fn assert_fault(spec: &Value, field: &str, words: &str) {
    let faults = faults(spec);
    assert!(
        faults.iter().any(|(path, detail)| path == field && detail.contains(words)),
        "no fault at {field} with {words:?} in {faults:#?}"
    );
}

const EXAMPLE: &str = r#"
directory = "~/app"
startup_script = "cargo fetch"
startup_timeout_ms = 600000
env = { RUST_BACKTRACE = "1" }
repository = { url = "https://git.example/app.git", branch = "${param.branch}", path = "~/app" }
resources = { cpu = 2.0, memory_mb = 4096, pids = 1024 }
network = { policy = "none" }
autostop = { default_ttl_ms = 28800000, user_autostop_enabled = true, activity_bump_ms = 3600000, max_lifetime_ms = 0 }
desktop = { enabled = true, width = 1920, height = 1080, record = false }
parameters = [ { name = "branch", type = "string", default = "main", mutable = true } ]
[local]
extra_paths = ["/opt/sdk"]
"#;

#[test]
fn w58_the_example_is_valid_as_toml_and_as_json_and_comes_back_whole() {
    let (spec, stored) = TemplateSpec::parse("local", SpecSource::Toml(EXAMPLE), &rules()).unwrap();
    assert_eq!(spec.directory.as_deref(), Some("~/app"));
    assert_eq!(spec.resources.cpu, Some(2.0));
    assert_eq!(spec.network_policy, NetworkPolicy::None);
    assert_eq!(spec.autostop.default_ttl_ms, 28_800_000);
    assert_eq!(spec.local.extra_paths, ["/opt/sdk"]);
    assert_eq!(stored["repository"]["branch"], "${param.branch}");
    let (_, again) = TemplateSpec::parse("local", SpecSource::Json(&stored), &rules()).unwrap();
    assert_eq!(again, stored);
    let with_header = format!("[spec]\n{}", EXAMPLE.replace("[local]", "[spec.local]"));
    let (_, other) = TemplateSpec::parse("local", SpecSource::Toml(&with_header), &rules()).unwrap();
    assert_eq!(other, stored);
    assert!(parse(&json!({})).is_ok());
}

#[test]
fn w58_all_faults_come_at_once_with_their_paths() {
    let spec = json!({
        "directry": "~/app",
        "startup_timeout_ms": "10m",
        "env": { "1X": "a", "ATELIER_TOKEN": "a", "GOOD": 1 },
        "repository": { "url": "http://git.example/x", "branch": "--x" },
        "resources": { "cpu": 0, "memory_mb": -1 },
        "network": { "policy": "closed" },
        "autostop": { "default_ttl_ms": 5 },
        "parameters": [
            { "type": "string" },
            { "name": "a", "type": "text" },
            { "name": "n", "type": "number", "default": 5, "validation": { "max": 3 } },
            { "name": "n", "validation": { "regex": "(" } },
        ],
        "local": { "extra_paths": ["/etc", 7] },
        "docker": { "image": "debian" },
    });
    let mut fields: Vec<String> = faults(&spec).into_iter().map(|(field, _)| field).collect();
    fields.sort();
    fields.dedup();
    assert_eq!(
        fields,
        [
            "spec.autostop.default_ttl_ms",
            "spec.directry",
            "spec.docker",
            "spec.env.1X",
            "spec.env.ATELIER_TOKEN",
            "spec.env.GOOD",
            "spec.local.extra_paths[0]",
            "spec.local.extra_paths[1]",
            "spec.network.policy",
            "spec.parameters[0].name",
            "spec.parameters[1].type",
            "spec.parameters[2].default",
            "spec.parameters[3].name",
            "spec.parameters[3].validation.regex",
            "spec.repository.branch",
            "spec.repository.url",
            "spec.resources.cpu",
            "spec.resources.memory_mb",
            "spec.startup_timeout_ms",
        ]
    );
    assert_fault(&spec, "spec.directry", "did you mean directory?");
}

#[test]
fn w58_single_faults() {
    for (spec, field, words) in [
        (json!([]), "spec", "must be an object"),
        (json!({"startup_script": "echo ${param.x}"}), "spec.startup_script", "ATELIER_PARAM_X"),
        (json!({"startup_script": "a".repeat(65537)}), "spec.startup_script", "65536"),
        (json!({"directory": "${param.x}"}), "spec.directory", "no parameter called x"),
        (json!({"directory": "${home}"}), "spec.directory", "unknown"),
        (json!({"directory": "app"}), "spec.directory", "absolute"),
        (json!({"directory": "~/../x"}), "spec.directory", ".."),
        (json!({"directory": "~/a\u{0}"}), "spec.directory", "U+0000"),
        (json!({"repository": {}}), "spec.repository.url", "missing"),
        (json!({"repository": {"url": "builtin:demo"}}), "spec.repository.url", "--demo"),
        (json!({"repository": {"url": "https://u:p@h/x"}}), "spec.repository.url", "password"),
        (json!({"repository": {"url": "https://h/x", "path": "/srv"}}), "spec.repository.path", "home"),
        (json!({"network": {"policy": "allowlist"}}), "spec.network.allow_hosts", "must list a host"),
        (json!({"network": {"allow_hosts": ["a.b"]}}), "spec.network.allow_hosts", "allowlist only"),
        (
            json!({"network": {"policy": "allowlist", "allow_hosts": ["git.example", "127.0.0.1"]}}),
            "spec.network.allow_hosts[1]",
            "never dialled",
        ),
        (json!({"network": {"policy": "closed"}}), "spec.network.policy", "must be open, none, allowlist or host"),
        (json!({"parameters": [{"name": "a-b"}, {"name": "A_B"}]}), "spec.parameters[1].name", "twice"),
        (
            json!({"parameters": [{"name": "b", "type": "bool", "default": "yes"}]}),
            "spec.parameters[0].default",
            "true or false",
        ),
        (
            json!({"parameters": [{"name": "s", "options": ["a"], "default": "b"}]}),
            "spec.parameters[0].default",
            "one of a",
        ),
        (json!({"parameters": [{"name": "s", "colour": 1}]}), "spec.parameters[0].colour", "unknown key"),
        (json!({"desktop": {"width": 1}}), "spec.desktop.width", "between 320"),
        (json!({"local": {"extra_paths": ["/opt/../etc"]}}), "spec.local.extra_paths[0]", ".."),
    ] {
        assert_fault(&spec, field, words);
    }
}

#[test]
fn w58_toml_faults_name_line_and_column() {
    let toml = "directory = \"~/app\"\n\n[resources]\n  cpus = 2\n";
    let faults = TemplateSpec::parse("local", SpecSource::Toml(toml), &rules()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].field, "spec.resources.cpus");
    assert!(faults[0].detail.contains("did you mean cpu?"), "{faults:?}");
    assert!(faults[0].detail.contains("(line 4, column 3)"), "{faults:?}");
    let faults = TemplateSpec::parse("local", SpecSource::Toml("a = = 1"), &rules()).unwrap_err();
    assert!(faults[0].detail.contains("not valid TOML") && faults[0].detail.contains("line 1"), "{faults:?}");
}

#[test]
fn other_drivers_are_named_as_not_available() {
    for (driver, section) in [("docker", json!({"image": "debian"})), ("kubernetes", json!({"namespace": "x"}))] {
        let spec = json!({ driver: section });
        let faults = TemplateSpec::parse(driver, SpecSource::Json(&spec), &rules()).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.field == "driver" && fault.detail.contains("not available")),
            "{faults:?}"
        );
    }
    let faults = TemplateSpec::parse("vm", SpecSource::Json(&json!({})), &rules()).unwrap_err();
    assert_eq!(faults[0].field, "driver");
}

#[test]
fn a_policy_the_host_cannot_enforce_is_refused() {
    let rules = SpecRules { network_isolation: false, ..rules() };
    let spec = json!({"network": {"policy": "none"}});
    let faults = TemplateSpec::parse("local", SpecSource::Json(&spec), &rules).unwrap_err();
    assert_eq!(faults[0].field, "spec.network.policy");
}

#[test]
fn the_hosts_network_is_for_servers_that_allow_it() {
    let (open, host, absent) =
        (json!({"network": {"policy": "open"}}), json!({"network": {"policy": "host"}}), json!({}));
    let refused = |host_network, private_network, spec: &Value| {
        let rules = SpecRules { host_network, private_network, ..rules() };
        let parsed = TemplateSpec::parse("local", SpecSource::Json(spec), &rules);
        parsed.err().map(|faults| format!("{} {}", faults[0].field, faults[0].detail))
    };
    for private in [true, false] {
        assert_eq!(refused(HostNetwork::Allow, private, &host), None);
        for setting in [HostNetwork::Fallback, HostNetwork::Refuse] {
            let fault = refused(setting, private, &host).unwrap();
            assert!(
                fault.starts_with("spec.network.policy") && fault.contains("ATELIER_LOCAL_HOST_NETWORK"),
                "{fault}"
            );
        }
    }
    for spec in [&open, &absent] {
        let fault = refused(HostNetwork::Refuse, false, spec).unwrap();
        assert!(fault.starts_with("spec.network.policy") && fault.contains("passt"), "{fault}");
        assert_eq!(refused(HostNetwork::Refuse, true, spec), None);
        assert_eq!(refused(HostNetwork::Fallback, false, spec), None);
    }
}

fn facts() -> Facts {
    Facts { workspace_id: "id".into(), workspace_name: "box".into(), owner_username: "ada".into() }
}

#[test]
fn w59_a_parameter_is_a_variable_and_changes_no_structure() {
    let evil = "\"; rm -rf ~ #";
    let spec = parse(&json!({
        "startup_script": "echo \"$ATELIER_PARAM_WORD\"",
        "env": { "WORD": "<${param.word}>" },
        "parameters": [{ "name": "word" }],
    }))
    .unwrap();
    let values = resolve_parameters(&spec.parameters, &[("word".into(), evil.into())], None).unwrap();
    let resolved = spec.resolve(&facts(), &values, &rules()).unwrap();
    assert_eq!(resolved.startup_script.as_deref(), Some("echo \"$ATELIER_PARAM_WORD\""));
    assert_eq!(resolved.env, [("WORD".to_owned(), format!("<{evil}>"))]);
    assert_eq!(resolved.parameters["word"], evil);
    assert_eq!(parameter_variable("word"), "ATELIER_PARAM_WORD");
}

#[test]
fn a_value_is_checked_again_where_it_is_used() {
    let spec = parse(&json!({
        "repository": { "url": "https://${param.host}/x", "branch": "${param.branch}" },
        "local": { "extra_paths": ["/opt/${param.sdk}"] },
        "parameters": [{ "name": "host" }, { "name": "branch" }, { "name": "sdk" }],
    }))
    .unwrap();
    let values = BTreeMap::from([
        ("host".to_owned(), "-x".to_owned()),
        ("branch".to_owned(), "--upload-pack=id".to_owned()),
        ("sdk".to_owned(), "../etc".to_owned()),
    ]);
    let fields: Vec<String> =
        spec.resolve(&facts(), &values, &rules()).unwrap_err().into_iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["spec.repository.url", "spec.repository.branch", "spec.local.extra_paths[0]"]);
}

#[test]
fn parameters_of_a_workspace() {
    let spec = parse(&json!({ "parameters": [
        { "name": "branch", "default": "main", "mutable": true },
        { "name": "size", "type": "number", "validation": { "min": 1, "max": 3, "error": "1 to 3, please" } },
        { "name": "fixed", "default": "a" },
    ]}))
    .unwrap();
    let given = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<_>>()
    };
    let fields = |faults: Vec<Fault>| faults.into_iter().map(|fault| (fault.field, fault.detail)).collect::<Vec<_>>();

    let faults = fields(resolve_parameters(&spec.parameters, &given(&[("brunch", "x")]), None).unwrap_err());
    assert_eq!(faults[0].0, "parameters.brunch");
    assert!(faults[0].1.contains("did you mean branch?"));
    assert_eq!(faults[1], ("parameters.size".into(), "is required".into()));
    let faults = fields(resolve_parameters(&spec.parameters, &given(&[("size", "9")]), None).unwrap_err());
    assert_eq!(faults, [("parameters.size".into(), "1 to 3, please".into())]);

    let first = resolve_parameters(&spec.parameters, &given(&[("size", "2")]), None).unwrap();
    assert_eq!(first["branch"], "main");
    let second = resolve_parameters(&spec.parameters, &given(&[("branch", "dev")]), Some(&first)).unwrap();
    assert_eq!((second["branch"].as_str(), second["size"].as_str()), ("dev", "2"));
    let faults = fields(resolve_parameters(&spec.parameters, &given(&[("fixed", "b")]), Some(&first)).unwrap_err());
    assert_eq!(faults[0].0, "parameters.fixed");
}

#[test]
fn readers_get_no_scripts_no_values_and_no_secrets() {
    let spec = redact_spec(&json!({
        "startup_script": "curl -H secret",
        "env": { "TOKEN": "secret" },
        "parameters": [{ "name": "key", "sensitive": true, "default": "secret" }, { "name": "b", "default": "main" }],
    }));
    assert!(!spec.to_string().contains("secret"), "{spec}");
    assert_eq!(spec["env"], json!({"TOKEN": ""}));
    assert_eq!(spec["parameters"][1]["default"], "main");
}
