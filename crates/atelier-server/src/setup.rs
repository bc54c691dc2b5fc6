//! The code that the first user of a server is created with, so that only who runs the server owns it.

use std::io::ErrorKind;
use std::path::PathBuf;

use atelier_store::SecretString;
use axum::http::StatusCode;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::{ApiError, ApiResult, fault};

/// The code of a server without users.
#[derive(Clone, Debug)]
pub struct SetupCode {
    pub code: SecretString,
    /// Where the command line of this machine finds it.
    pub file: PathBuf,
}

impl SetupCode {
    /// # Errors
    /// 403 `setup_code_required`: the code that was given is missing or wrong.
    pub(crate) fn check(&self, given: &str) -> ApiResult<()> {
        let digest = |text: &str| Sha256::digest(as_typed(text));
        if digest(given).ct_eq(&digest(self.code.expose())).into() {
            return Ok(());
        }
        let message = "The first user is created with the set-up code that the server prints at its start.";
        let detail =
            "It also lies in private/setup_code of the server's data folder, unless ATELIER_SETUP_CODE sets it.";
        let mut error = ApiError::new(StatusCode::FORBIDDEN, "setup_code_required", message).with_detail(detail);
        let found = if given.trim().is_empty() { "is missing" } else { "is not right" };
        error.body.validations = vec![fault("setup_code", format!("{found}: the server prints it at its start"))];
        Err(error)
    }

    /// Removes the file: there is a user now.
    pub(crate) fn forget(&self) {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!("{} cannot be removed: {error}", self.file.display());
            }
            _ => {}
        }
    }
}

/// The letters and digits of a code: people type capitals, and spaces or nothing for the dashes.
fn as_typed(code: &str) -> String {
    code.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
