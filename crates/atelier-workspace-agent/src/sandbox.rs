//! `sandbox-exec`: the Landlock mode of local workspaces (`workspaces.md` 5.4).
//!
//! For hosts without bubblewrap. All capabilities go,
//! paths that are not named are out of reach, signals and abstract sockets
//! stay inside where the kernel can do that, and system calls that no workspace needs are refused. The
//! network is not shut off, and sockets with a name are not either; the driver says so.

pub(crate) mod seccomp;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::command::{SandboxExecArgs, complain};
use crate::hardening;

/// The newest rules this code knows; an older kernel applies those it has.
const RULES: ABI = ABI::V6;
/// Devices that programs take for granted.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/random", "/dev/urandom"];

pub(crate) fn run(args: &SandboxExecArgs) -> ExitCode {
    let result = if args.check { check() } else { exec(args) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Applies the strictest rules to this process, which ends right after.
fn check() -> anyhow::Result<()> {
    restrict::<&Path>(&[], &[])?;
    seccomp::apply()
}

fn exec(args: &SandboxExecArgs) -> anyhow::Result<()> {
    let Some((program, arguments)) = args.program.split_first() else { bail!("no program is named") };
    // Init could not do it later: the filter keeps it from that.
    hardening::own_keyring()?;
    drop_capabilities()?;
    restrict(&args.read_only, &args.writable)?;
    seccomp::apply()?;
    // Only returns when it fails.
    let error = command(program, arguments).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// Some of them see through Landlock (`perfmon` reads the memory of any process).
fn drop_capabilities() -> anyhow::Result<()> {
    for capability in CapabilitySet::all().iter() {
        // Refused to one who has none to lose; unknown to an older kernel.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    rustix::thread::clear_ambient_capability_set().context("clear the ambient capabilities")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).context("drop all capabilities")
}

fn command(program: &OsString, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn restrict<P: AsRef<Path>>(read_only: &[P], writable: &[P]) -> anyhow::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let devices = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(read_only, AccessFs::from_read(RULES)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(RULES)))?
        .add_rules(path_beneath_rules(DEVICES, devices))?
        .restrict_self()
        .context("apply Landlock")?;
    if status.ruleset == RulesetStatus::NotEnforced {
        bail!("this kernel has no Landlock");
    }
    Ok(())
}
