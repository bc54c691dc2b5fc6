//! System calls that a workspace is refused: they reach for the kernel or the host, and no program that
//! works in a workspace needs them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Answered with "not permitted".
const REFUSED: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_open_by_handle_at,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
];

/// Answered with "no such call": callers know another way.
const UNKNOWN: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Families of sockets that a workspace may make. Others are answered as a kernel without them does: some lead
/// past every network namespace (`AF_VSOCK` to the machine that a virtual one runs on), and the rest is for
/// administrators.
const SOCKETS: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Applies to this thread and all that it starts from now on.
pub(crate) fn apply() -> anyhow::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let mut refused = always(REFUSED);
    // New user namespaces open much of the kernel; `clone3` hides its flags, so it is not there.
    let namespaces = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let new_user = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(namespaces), namespaces)?;
    for call in numbers(libc::SYS_clone) {
        refused.insert(call, vec![SeccompRule::new(vec![new_user.clone()])?]);
    }
    install(refused, libc::EPERM)?;
    install(other_sockets()?, libc::EAFNOSUPPORT)?;
    install(always(UNKNOWN), libc::ENOSYS)
}

fn other_sockets() -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let is_none_of_them: Vec<SeccompCondition> = SOCKETS
        .iter()
        .map(|family| {
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))
        })
        .collect::<Result<_, _>>()?;
    let rule = SeccompRule::new(is_none_of_them)?;
    let calls = [libc::SYS_socket, libc::SYS_socketpair];
    Ok(calls.into_iter().flat_map(numbers).map(|number| (number, vec![rule.clone()])).collect())
}

fn always(calls: &[libc::c_long]) -> BTreeMap<i64, Vec<SeccompRule>> {
    calls.iter().flat_map(|call| numbers(*call)).map(|number| (number, Vec::new())).collect()
}

/// The numbers that reach a call: some kernels know most calls a second time, for programs with short
/// pointers (x32).
fn numbers(call: libc::c_long) -> impl Iterator<Item = i64> {
    const SHORT_POINTERS: i64 = 0x4000_0000;
    let second = cfg!(target_arch = "x86_64").then_some(call | SHORT_POINTERS);
    std::iter::once(call).chain(second)
}

fn install(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> anyhow::Result<()> {
    let arch = std::env::consts::ARCH.try_into().context("this processor has no seccomp filter")?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program).context("apply seccomp")
}
