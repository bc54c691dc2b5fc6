//! `sandbox-exec` as a process. On a kernel without Landlock only the refusal is checked.

use std::process::{Command, Output};

use crate::support::PROGRAM;

fn run(script: &str, writable: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["agent", "sandbox-exec"]);
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/etc/ld.so.cache", "/no/such/path"] {
        command.args(["--read-only", path]);
    }
    command.args(["--writable", writable, "--", "/bin/sh", "-c", script]).output().unwrap()
}

#[test]
fn w63_only_named_paths_are_within_reach() {
    let inside = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    if !Command::new(PROGRAM).args(["agent", "sandbox-exec", "--check"]).output().unwrap().status.success() {
        let output = run("true", inside.path().to_str().unwrap());
        assert!(!output.status.success());
        return;
    }
    let script = format!(
        r#"cd {inside} || exit 9
        echo ok > file && cat file
        cat {outside}/secret && echo LEAK
        ls {outside} && echo LEAK
        echo x > {outside}/new && echo LEAK
        cat /etc/shadow && echo LEAK
        echo x > /usr/x && echo LEAK
        cat /proc/{server}/environ && echo LEAK
        kill -0 {server} && echo LEAK
        unshare -U true && echo LEAK
        mount -t tmpfs none /tmp && echo LEAK
        echo x > /dev/null && head -c 1 /dev/urandom > /dev/null && echo devices
        (sh -c 'echo child; kill $$; echo no') ; grep -E 'NoNewPrivs|Cap(Eff|Bnd)' /proc/self/status"#,
        inside = inside.path().display(),
        outside = outside.path().display(),
        server = std::process::id(),
    );
    let output = run(&script, inside.path().to_str().unwrap());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("ok\ndevices\nchild\n"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("NoNewPrivs:\t1"));
    // Only root has a bounding set to lose; for others no_new_privs makes it mean nothing.
    let is_root = rustix::process::geteuid().is_root();
    for set in ["CapEff", "CapBnd"].into_iter().take(if is_root { 2 } else { 1 }) {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    assert!(!text.contains("LEAK"), "{text}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let output = Command::new(PROGRAM).args(["agent", "sandbox-exec", "--", "/no/such/program"]).output().unwrap();
    assert!(!output.status.success());
    let output = Command::new(PROGRAM).args(["agent", "sandbox-exec"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no program"));
}
