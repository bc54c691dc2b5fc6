//! Generated files of the repository: the OpenAPI document and the reference of settings.

use std::path::Path;

use anyhow::{Context as _, bail};

/// Writes them below the current folder, which must be the repository's root.
pub(crate) fn run() -> anyhow::Result<()> {
    if !Path::new("openapi").is_dir() {
        bail!("run this at the root of the repository, or with ./dev generate");
    }
    let document = serde_json::to_string_pretty(&atelier_server::openapi_document())? + "\n";
    write("openapi/atelier.json", &document)?;
    write("docs/reference/settings.md", &crate::settings::reference_page())
}

fn write(path: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
