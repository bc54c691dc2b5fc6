//! What a process gives up before anything of a workspace runs in it (`workspaces.md` 5.4).

use std::io;

use anyhow::Context as _;
use keyutils::Keyring;

/// Leaves the session keyring of whoever started this process for an empty one: keys of a login, of
/// Kerberos or of mounted shares lie there, and workspaces would share it.
pub(crate) fn own_keyring() -> anyhow::Result<()> {
    match Keyring::join_anonymous_session() {
        Ok(_) => Ok(()),
        // Refused by a filter or unknown to the kernel: then no key can be reached either.
        Err(error) if matches!(error.0, libc::EPERM | libc::ENOSYS) => Ok(()),
        Err(error) => Err(io::Error::from_raw_os_error(error.0)).context("join a session keyring of its own"),
    }
}
