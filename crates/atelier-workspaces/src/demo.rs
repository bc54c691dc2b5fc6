//! The repository of the demo: a small program in POSIX shell with one failing test.
//!
//! Its files come with the program. When the demo is on they become a git bundle in the data folder, made
//! once, with fixed author and dates, so that the commit is the same everywhere. Workspaces clone from it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

/// Name of the demo template.
pub const TEMPLATE_NAME: &str = "demo";
pub const TEMPLATE_DISPLAY_NAME: &str = "Demo";
pub const TEMPLATE_DESCRIPTION: &str = "A small shell program with one failing test, in a local workspace.";

/// The bundle's name in a workspace's run folder.
pub(crate) const BUNDLE: &str = "demo.bundle";

/// Where the repository is cloned to.
pub(crate) const DIRECTORY: &str = "~/calc";

const FILES: [(&str, &str); 4] = [
    ("AGENTS.md", include_str!("demo/repository/AGENTS.md")),
    ("README.md", include_str!("demo/repository/README.md")),
    ("calc.sh", include_str!("demo/repository/calc.sh")),
    ("test.sh", include_str!("demo/repository/test.sh")),
];

/// The specification of the demo template: without a network, unless this host cannot keep workspaces from it.
#[must_use]
pub fn template_spec(network_isolation: bool) -> serde_json::Value {
    serde_json::json!({
        "repository": { "url": crate::templates::BUILTIN_DEMO, "path": DIRECTORY },
        "network": { "policy": if network_isolation { "none" } else { "open" } },
    })
}

/// Makes the bundle below `data_dir` unless it is there, and returns its path. Blocks; needs `git`.
///
/// # Errors
/// `git` is missing or fails; the words say so.
pub fn bundle(data_dir: &Path) -> io::Result<PathBuf> {
    let folder = data_dir.join("demo");
    let bundle = folder.join(format!("{}.bundle", &fingerprint()[..16]));
    if bundle.is_file() {
        return Ok(bundle);
    }
    std::fs::create_dir_all(&folder)?;
    let work = tempfile::Builder::new().prefix(".new").tempdir_in(&folder)?;
    let repository = work.path().join("repository");
    std::fs::create_dir(&repository)?;
    for (name, text) in FILES {
        std::fs::write(repository.join(name), text)?;
    }
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    git(&repository, &["add", "--all"])?;
    git(&repository, &["commit", "--quiet", "--message=A calculator with a test that fails"])?;
    let fresh = work.path().join("bundle");
    let fresh_name = fresh.to_str().ok_or_else(|| io::Error::other("the data folder's path is no UTF-8"))?;
    git(&repository, &["bundle", "create", "--quiet", fresh_name, "HEAD", "main"])?;
    std::fs::rename(&fresh, &bundle)?;
    Ok(bundle)
}

fn fingerprint() -> String {
    let mut hasher = Sha256::new();
    for (name, text) in FILES {
        hasher.update(name);
        hasher.update([0]);
        hasher.update(text);
        hasher.update([0]);
    }
    crate::hex(&hasher.finalize())
}

fn git(repository: &Path, arguments: &[&str]) -> io::Result<()> {
    const DATE: &str = "2026-01-01T00:00:00Z";
    let output = Command::new("git")
        .args(arguments)
        .current_dir(repository)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "Atelier"), ("GIT_AUTHOR_EMAIL", "demo@atelier.invalid"), ("GIT_AUTHOR_DATE", DATE)])
        .envs([
            ("GIT_COMMITTER_NAME", "Atelier"),
            ("GIT_COMMITTER_EMAIL", "demo@atelier.invalid"),
            ("GIT_COMMITTER_DATE", DATE),
        ])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("git cannot be started: {error}; the demo needs it")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("git fails: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_the_same_everywhere_and_one_test_fails() {
        let heads: Vec<String> = (0..2)
            .map(|_| {
                let data = tempfile::tempdir().unwrap();
                let bundle = bundle(data.path()).unwrap();
                assert_eq!(super::bundle(data.path()).unwrap(), bundle);
                let clone = data.path().join("clone");
                let run = |program: &str, arguments: &[&str]| {
                    Command::new(program).args(arguments).current_dir(data.path()).output().unwrap()
                };
                let cloned = run("git", &["clone", "--quiet", bundle.to_str().unwrap(), clone.to_str().unwrap()]);
                assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
                let tests = run("sh", &["clone/test.sh"]);
                assert_eq!(tests.status.code(), Some(1));
                assert!(String::from_utf8_lossy(&tests.stdout).contains("2 passed, 1 failed"));
                String::from_utf8(run("git", &["-C", "clone", "rev-parse", "HEAD"]).stdout).unwrap()
            })
            .collect();
        assert_eq!(heads[0], heads[1]);
    }
}
