//! The environment of commands, built from nothing (`workspaces.md` 2.3).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atelier_workspace_protocol::Manifest;

use crate::proxy;

/// What of the agent's own environment commands see.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Nothing may wait for a person who is not there.
const CHAT: [(&str, &str); 10] = [
    ("EDITOR", "true"),
    ("VISUAL", "true"),
    ("GIT_EDITOR", "true"),
    ("GIT_SEQUENCE_EDITOR", "true"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("NO_COLOR", "1"),
    ("TERM", "dumb"),
    ("ATELIER_CHAT", "1"),
];

const RESERVED: &str = "ATELIER";

/// The environment that all commands share.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    base: BTreeMap<String, String>,
    template: BTreeMap<String, String>,
}

impl Environment {
    /// `own` is the agent's environment.
    pub(crate) fn new(own: impl IntoIterator<Item = (String, String)>, home: &Path, manifest: &Manifest) -> Self {
        let mut base: BTreeMap<String, String> =
            own.into_iter().filter(|(name, _)| INHERITED.contains(&name.as_str())).collect();
        base.insert("HOME".into(), home.display().to_string());
        base.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
        base.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
        let workspace = &manifest.workspace;
        for (name, value) in [
            ("ATELIER", "1"),
            ("ATELIER_WORKSPACE_ID", workspace.id.as_str()),
            ("ATELIER_WORKSPACE_NAME", workspace.name.as_str()),
            ("ATELIER_WORKSPACE_OWNER", workspace.owner.as_str()),
        ] {
            base.insert(name.into(), value.into());
        }
        for (name, value) in &manifest.parameters {
            base.insert(format!("ATELIER_PARAM_{}", parameter_name(name)), without_nul(value));
        }
        if let Some(identity) = &manifest.git_identity {
            for role in ["AUTHOR", "COMMITTER"] {
                base.insert(format!("GIT_{role}_NAME"), without_nul(&identity.name));
                base.insert(format!("GIT_{role}_EMAIL"), without_nul(&identity.email));
            }
        }
        base.extend(manifest.proxy_port.map(proxy::variables).into_iter().flatten());
        let template = manifest
            .env
            .iter()
            .filter(|(name, _)| is_name(name) && !name.starts_with(RESERVED))
            .map(|(name, value)| (name.clone(), without_nul(value)))
            .collect();
        Self { base, template }
    }

    /// Of a command of a chat; `asked` is the call's own.
    pub(crate) fn of_chat(&self, chat_id: Option<&str>, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut result = self.base.clone();
        result.extend(CHAT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if let Some(chat_id) = chat_id {
            result.insert("ATELIER_CHAT_ID".into(), chat_id.to_owned());
        }
        result.extend(self.template.clone());
        let own = asked.iter().filter(|(name, _)| !name.starts_with(RESERVED));
        result.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        result
    }

    /// Of the clone and of the scripts of a start and an end.
    pub(crate) fn of_script(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut result = self.base.clone();
        result.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
        result.insert("TERM".into(), "dumb".into());
        result.extend(self.template.clone());
        result.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        result
    }

    pub(crate) fn user(&self) -> String {
        self.base.get("USER").cloned().unwrap_or_default()
    }

    /// `bash` where there is one, else `sh`.
    pub(crate) fn shell(&self) -> PathBuf {
        let folders = ["/bin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
        let path = self.base.get("PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        let bash = folders
            .into_iter()
            .chain::<Vec<PathBuf>>(path)
            .map(|folder| folder.join("bash"))
            .find(|file| file.is_file());
        bash.unwrap_or_else(|| "/bin/sh".into())
    }
}

/// A name that a shell can use.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 256
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn parameter_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn without_nul(value: &str) -> String {
    value.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "start_id": "b",
            "workspace": {"id": "w", "name": "box", "owner": "ada"},
            "env": {"TERM": "xterm", "ATELIER_CHAT": "0", "A": "template", "B": "template"},
            "parameters": {"branch-name": "\"; rm -rf ~ #"},
        }))
        .unwrap()
    }

    #[test]
    fn nothing_of_the_agent_is_inherited_but_the_plain_names() {
        let own = [("PATH", "/p"), ("ATELIER_AGENT_URLS", "unix:/x"), ("SECRET", "s")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::new(own, Path::new("/home/a"), &manifest());
        let asked = BTreeMap::from([("B".to_owned(), "call".to_owned()), ("ATELIER".to_owned(), "0".to_owned())]);
        let got = environment.of_chat(Some("c"), &asked);
        let get = |name: &str| got.get(name).map(String::as_str);
        assert_eq!((get("PATH"), get("SECRET"), get("ATELIER_AGENT_URLS")), (Some("/p"), None, None));
        assert_eq!((get("TERM"), get("A"), get("B")), (Some("xterm"), Some("template"), Some("call")));
        assert_eq!((get("ATELIER"), get("ATELIER_CHAT"), get("ATELIER_CHAT_ID")), (Some("1"), Some("1"), Some("c")));
        assert_eq!(get("ATELIER_PARAM_BRANCH_NAME"), Some("\"; rm -rf ~ #"));
        assert_eq!(get("EDITOR"), Some("true"));
        assert_eq!(environment.of_script(&[]).get("EDITOR"), None);
    }
}
