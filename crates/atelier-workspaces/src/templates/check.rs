//! Small rules on names, paths and addresses.

use std::path::{Component, Path};

pub(crate) const TEMPLATE_NAME_RULE: &str = "must be 1 to 32 of a-z, 0-9 and -";

pub(crate) fn is_template_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?`
pub(crate) fn is_workspace_name(name: &str) -> bool {
    is_template_name(name) && !name.starts_with('-') && !name.ends_with('-')
}

/// The name of an environment variable a template may set.
pub(crate) fn env_name_fault(name: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !starts_well || name.len() > 128 || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Some("is no name of an environment variable: letters, digits and _, not starting with a digit");
    }
    name.to_ascii_uppercase().starts_with("ATELIER").then_some("names starting with ATELIER are the server's")
}

/// A folder in the workspace: absolute or `~/...`, without `..`.
pub(crate) fn folder_fault(path: &str) -> Option<&'static str> {
    if path.len() > 4096 {
        return Some("must be at most 4096 bytes");
    }
    if path != "~" && !path.starts_with("~/") && !path.starts_with('/') {
        return Some("must be absolute or start with ~/");
    }
    path.split('/').any(|piece| piece == "..").then_some("must not contain ..")
}

/// A folder that must lie in the home folder: `~/...`.
pub(crate) fn home_folder_fault(path: &str) -> Option<&'static str> {
    match folder_fault(path) {
        Some(fault) => Some(fault),
        None if path.strip_prefix("~/").is_some_and(|rest| !rest.trim_matches(['/', '.']).is_empty()) => None,
        None => Some("must be a folder in the home folder: ~/name"),
    }
}

/// `https://...`, `ssh://...` or `user@host:path`.
pub(crate) fn repository_fault(url: &str) -> Option<&'static str> {
    const FAULT: &str = "must be an https:// or ssh:// address, or user@host:path";
    if url.len() > 2048 || url.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Some(FAULT);
    }
    let host = if let Some(rest) = url.strip_prefix("https://") {
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Some("must not contain a user or password");
        }
        rest
    } else if let Some(rest) = url.strip_prefix("ssh://") {
        let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@'));
        if user.is_some_and(|(user, _)| user.contains(':')) {
            return Some("must not contain a password");
        }
        rest
    } else {
        let Some((authority, path)) = url.split_once(':') else { return Some(FAULT) };
        let Some((user, host)) = authority.split_once('@') else { return Some(FAULT) };
        if user.is_empty() || path.is_empty() || path.starts_with('/') && path.starts_with("//") {
            return Some(FAULT);
        }
        host
    };
    // A host that starts with a dash would be read as an option by ssh.
    let host = host.rsplit('@').next().unwrap_or(host);
    host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        .then_some(())
        .map_or(Some(FAULT), |()| None)
}

/// A branch or tag name that git would take and no option.
pub(crate) fn branch_fault(branch: &str) -> Option<&'static str> {
    let bad = branch.is_empty()
        || branch.len() > 255
        || branch.starts_with('-')
        || branch.contains("..")
        || branch
            .chars()
            .any(|character| character.is_whitespace() || character.is_control() || "~^:?*[\\".contains(character));
    bad.then_some("is no name of a branch")
}

/// A host path that lies under one of `roots`.
pub(crate) fn extra_path_fault(path: &str, roots: &[std::path::PathBuf]) -> Option<String> {
    let candidate = Path::new(path);
    let normal = candidate.is_absolute()
        && candidate.components().all(|piece| matches!(piece, Component::RootDir | Component::Normal(_)));
    if !normal {
        return Some("must be an absolute path without . and ..".into());
    }
    if roots.is_empty() {
        return Some("this server shows no host paths (setting ATELIER_LOCAL_EXTRA_PATHS)".into());
    }
    if roots.iter().any(|root| candidate.starts_with(root)) {
        return None;
    }
    let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    Some(format!("must lie under one of the server's extra paths: {}", roots.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspace_names() {
        for good in ["a", "a-b", "0", "abc-1", &"a".repeat(32)] {
            assert!(is_workspace_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "ä", &"a".repeat(33)] {
            assert!(!is_workspace_name(bad), "{bad}");
        }
    }

    #[test]
    fn repositories() {
        for good in [
            "https://git.example/app.git",
            "https://git.example:8443/a/b",
            "ssh://git@git.example/app.git",
            "git@git.example:app.git",
        ] {
            assert_eq!(repository_fault(good), None, "{good}");
        }
        for bad in [
            "http://git.example/app.git",
            "file:///etc",
            "/etc",
            "ext::sh -c id",
            "ssh://-oProxyCommand=id/x",
            "git@-oProxyCommand=id:x",
            "https://user:pass@git.example/x",
            "--upload-pack=id",
            "https://",
            "",
        ] {
            assert!(repository_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        assert_eq!(home_folder_fault("~/app"), None);
        for bad in ["~", "~/", "~/.", "/app", "app", "~/../x", "~/a/../b"] {
            assert!(home_folder_fault(bad).is_some(), "{bad}");
        }
        let roots = ["/opt".into()];
        assert_eq!(extra_path_fault("/opt/sdk", &roots), None);
        for bad in ["/opt/../etc", "opt", "/optional", "/etc"] {
            assert!(extra_path_fault(bad, &roots).is_some(), "{bad}");
        }
    }
}
