//! Paths as they are written by people and models: absolute, `~/...`, or relative to a folder.

use std::path::{Component, Path, PathBuf};

pub(crate) const MAX_PATH_BYTES: usize = 4096;

/// The absolute path, with `.` and repeated slashes taken out; `..` stays, for links decide what it means.
pub(crate) fn resolve(home: &Path, directory: &Path, path: &str) -> Result<PathBuf, &'static str> {
    if path.is_empty() {
        return Err("must not be empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return Err("must have at most 4096 bytes");
    }
    if path.contains('\0') {
        return Err("must not contain U+0000");
    }
    let joined = match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => directory.join(path),
    };
    Ok(joined.components().filter(|part| !matches!(part, Component::CurDir)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples() {
        let resolve =
            |path| resolve(Path::new("/home/a"), Path::new("/home/a/app"), path).unwrap().display().to_string();
        assert_eq!(resolve("~"), "/home/a");
        assert_eq!(resolve("~//x"), "/home/a/x");
        assert_eq!(resolve("./src//./y"), "/home/a/app/src/y");
        assert_eq!(resolve("/etc/hosts"), "/etc/hosts");
        assert_eq!(resolve("~other"), "/home/a/app/~other");
        assert_eq!(resolve("../z"), "/home/a/app/../z");
        assert!(super::resolve(Path::new("/"), Path::new("/"), "a\0").is_err());
        assert!(super::resolve(Path::new("/"), Path::new("/"), "").is_err());
    }
}
