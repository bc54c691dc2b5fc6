//! Makes the folder of the built site, so that a build without it embeds nothing instead of failing, and
//! has Cargo look for changes in it.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../site/dist");
    std::fs::create_dir_all(&built)?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", built.display());
    Ok(())
}
