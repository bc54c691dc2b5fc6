//! Committed files that are made from the code.

/// `atelier generate` writes what is committed.
#[test]
fn generated_files_are_fresh() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let marker = "Cargo.toml";
    std::fs::copy(repository.join(marker), folder.path().join(marker)).unwrap();
    std::fs::create_dir(folder.path().join("openapi")).unwrap();
    let output =
        std::process::Command::new(crate::PROGRAM).arg("generate").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["openapi/atelier.json", "docs/reference/settings.md"] {
        let (fresh, committed) = (folder.path().join(file), repository.join(file));
        let same = std::fs::read(fresh).unwrap() == std::fs::read(committed).unwrap();
        assert!(same, "{file} is not what the code says: run ./dev generate");
    }
}
