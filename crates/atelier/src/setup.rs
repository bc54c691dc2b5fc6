//! The set-up code of a server without users: where it comes from, where it lies, and how it is shown.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use atelier_domain::SharedClock;
use atelier_server::SetupCode;
use atelier_store::{SecretString, Store};

use crate::server::private_dir;
use crate::settings::Settings;

/// Short ones could be guessed.
const MIN_LENGTH: usize = 16;

/// The code, when there is no user yet. It is printed as part of a link, and its file is there as long as it counts.
pub(crate) async fn prepare(
    settings: &Settings,
    store: &Store,
    data_dir: &Path,
    clock: &SharedClock,
) -> anyhow::Result<Option<SetupCode>> {
    let file = file(data_dir);
    if store.user_exists().await? {
        return match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", file.display()))
            }
            _ => Ok(None),
        };
    }
    let code = match &settings.setup_code {
        Some(code) => checked(code)?.to_owned(),
        None => store.setup_code(atelier_server::new_code(), clock.now()).await?,
    };
    write(&file, &code).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Some(SetupCode { code: SecretString::new(code), file }))
}

pub(crate) fn greeting(setup: &SetupCode, url: &str) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("the program does not know where it lies")?;
    let (program, code) = (program.display(), setup.code.expose());
    Ok(format!(
        "\nThere is no user yet. The first one owns the site; create it\n\
         \x20 in a browser   {url}/setup#code={code}\n\
         \x20 or in a shell  ATELIER_URL={url} ATELIER_SETUP_CODE={code} {program} user create --email EMAIL --username NAME\n\
         Set-up code: {code}\n"
    ))
}

/// The code of a server of this machine that was started with the same environment as this command.
pub(crate) fn code_of_this_machine() -> Option<String> {
    let data_dir = Settings::of_environment().and_then(|settings| settings.data_dir()).ok()?;
    std::fs::read_to_string(file(&data_dir)).ok()
}

fn file(data_dir: &Path) -> PathBuf {
    private_dir(data_dir).join("setup_code")
}

fn checked(code: &str) -> anyhow::Result<&str> {
    let is_good =
        code.len() >= MIN_LENGTH && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_good {
        bail!("ATELIER_SETUP_CODE must be {MIN_LENGTH} or more letters, digits, - and _");
    }
    Ok(code)
}

fn write(file: &Path, code: &str) -> std::io::Result<()> {
    let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(file)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(code.as_bytes())
}
