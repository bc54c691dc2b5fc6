//! The network of a local workspace (`workspaces.md` 5.4, "Network policy").
//!
//! With the policy `open` a workspace gets the internet in a network namespace of its own: `pasta` carries
//! its packets through ordinary sockets of the host. What is for the host itself is dropped by rules of
//! that namespace, set before the workspace's first process. The namespace belongs to a user namespace
//! outside of the workspace's, so nothing inside can change them. Pasta is the parent of the sandbox: it
//! ends with it, outlives the server like it, and when it is killed the workspace has no network at all.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::sandbox::{SYSTEM_PATH, become_owner};
use super::users::Owner;

const PASTA_PLACES: [&str; 3] = ["/usr/bin/pasta", "/usr/local/bin/pasta", "/run/current-system/sw/bin/pasta"];
const IP_PLACES: [&str; 5] = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip", "/run/current-system/sw/bin/ip"];

/// The interface of a workspace, whatever the host's is called.
const INTERFACE: &str = "eth0";
/// Where a workspace asks for names when the host's own resolver is out of its reach. Pasta answers there.
const RESOLVER: &str = "169.254.1.1";
/// Besides the host's own addresses: link-local, multicast, broadcast, and where clouds serve metadata
/// outside of link-local (Alibaba; AWS and Google by IPv6; as documented by them, 2026-11).
const OUT_OF_REACH: [&str; 5] = ["169.254.0.0/16", "224.0.0.0/4", "255.255.255.255", "0.0.0.0/8", "100.100.100.200"];
const OUT_OF_REACH_6: [&str; 4] = ["fe80::/10", "ff00::/8", "fd00:ec2::254", "fd20:ce::254"];

/// Sets the rules, then becomes what follows. The arguments before it are the program, the rules of IPv4 and
/// those of IPv6. Pasta makes a process namespace and leaves the list of the host's processes mounted;
/// bubblewrap looks itself up there, so it gets the list of its own namespace.
const SET_RULES: &str = r#"ip=$1; printf '%s' "$2" | "$ip" -batch - && { [ -z "$3" ] || printf '%s' "$3" | "$ip" -6 -batch -; } || exit 96; shift 3; exec unshare --mount-proc "$@""#;

const TRIAL_TIME: Duration = Duration::from_secs(20);

/// The network that one start gets.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    Host,
    Loopback,
    Private(Gate),
}

/// The programs that make a network for a workspace.
#[derive(Clone, Debug)]
pub(crate) struct Pasta {
    pasta: PathBuf,
    ip: PathBuf,
}

/// A network without the host, as it is to be made now.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    programs: Pasta,
    rules: String,
    /// Empty when the host has no IPv6.
    rules_6: String,
    /// In place of the host's `/etc/resolv.conf`, when that names a resolver out of reach.
    pub(crate) resolver: Option<PathBuf>,
}

impl Pasta {
    /// Finds the programs and tries them as a start would use them.
    ///
    /// # Errors
    /// Why there is no network for workspaces here, in words for people.
    pub(super) async fn find(bubblewrap: &Path, owner: Option<Owner>) -> Result<Self, String> {
        let found = |places: &[&str]| places.iter().map(PathBuf::from).find(|place| place.is_file());
        let pasta = found(&PASTA_PLACES).ok_or("pasta is not installed (apt-get install passt)")?;
        let ip = found(&IP_PLACES).ok_or("ip is not installed (apt-get install iproute2)")?;
        let programs = Self { pasta, ip };
        let gate = programs.gate().await.map_err(|error| format!("the host's addresses cannot be read: {error}"))?;
        let mut line = gate.line();
        line.push(bubblewrap.into());
        line.extend(["--unshare-user", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--", "/bin/true"].map(Into::into));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        become_owner(&mut command, owner);
        let output = output(command).await.map_err(|error| format!("pasta cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(programs);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.lines().filter(|line| !line.contains("to syslog")).collect::<Vec<_>>().join("; ");
        let hint = if words.contains("tun") { " (/dev/net/tun must have the mode 0666)" } else { "" };
        Err(format!("pasta does not work here: {}{hint}", atelier_domain::text::head(words.trim(), 500)))
    }

    /// The network of a start, by the addresses that the host has now. `folder` is for the made-up list of
    /// resolvers.
    pub(super) async fn network(&self, folder: &Path) -> io::Result<Network> {
        let mut gate = self.gate().await?;
        let listed = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
        if let Some(text) = gate.reachable_resolver(&listed) {
            let file = folder.join("resolv.conf");
            let written = file.clone();
            super::blocking(move || super::folders::replace(&written, text.as_bytes(), 0o644)).await?;
            gate.resolver = Some(file);
        }
        Ok(Network::Private(gate))
    }

    async fn gate(&self) -> io::Result<Gate> {
        let own = self.own_addresses("-4").await?;
        // A host without IPv6 refuses to list it.
        let own_6 = self.own_addresses("-6").await.unwrap_or_default();
        let rules = blackholes(OUT_OF_REACH.iter().copied(), &own);
        let rules_6 = if own_6.is_empty() { String::new() } else { blackholes(OUT_OF_REACH_6.iter().copied(), &own_6) };
        Ok(Gate { programs: self.clone(), rules, rules_6, resolver: None })
    }

    /// All destinations that the host's kernel delivers to the host itself.
    async fn own_addresses(&self, family: &str) -> io::Result<Vec<String>> {
        let mut command = Command::new(&self.ip);
        command.args([family, "-json", "route", "show", "table", "local", "type", "local"]);
        let output = output(command).await?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        destinations(&output.stdout)
    }
}

impl Gate {
    /// The beginning of a command line: what follows runs in the new network.
    pub(super) fn line(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.programs.pasta.clone().into()];
        line.extend(["--foreground", "--quiet", "--stderr", "--config-net", "--no-map-gw"].map(Into::into));
        line.extend(["-t", "none", "-u", "none", "-T", "none", "-U", "none"].map(Into::into));
        line.extend(["--ns-ifname", INTERFACE].map(Into::into));
        if self.resolver.is_some() {
            line.extend(["--dns-forward", RESOLVER].map(Into::into));
        }
        if self.rules_6.is_empty() {
            line.push("--ipv4-only".into());
        }
        line.extend(["--", "/bin/sh", "-c", SET_RULES, "sh"].map(Into::into));
        line.push(self.programs.ip.clone().into());
        let way_to_resolver = if self.resolver.is_some() { way_to_resolver() } else { String::new() };
        line.extend([format!("{way_to_resolver}{}", self.rules), self.rules_6.clone()].map(Into::into));
        line
    }

    /// What a workspace needs in place of the host's list of resolvers, if one there is out of its reach.
    fn reachable_resolver(&self, listed: &str) -> Option<String> {
        let server = |line: &str| line.strip_prefix("nameserver")?.trim().split('%').next()?.parse::<IpAddr>().ok();
        let dropped = |address: IpAddr| {
            let is_link_local = match address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            let rule = format!(" to {address} blackhole\n");
            address.is_loopback() || is_link_local || self.rules.contains(&rule) || self.rules_6.contains(&rule)
        };
        if !listed.lines().filter_map(server).any(dropped) {
            return None;
        }
        let others = listed.lines().filter(|line| server(line).is_none());
        Some(others.chain([format!("nameserver {RESOLVER}").as_str()]).map(|line| format!("{line}\n")).collect())
    }
}

/// Lets questions for names pass, and nothing else for that address.
fn way_to_resolver() -> String {
    let rule = |protocol| format!("rule add pref 1 to {RESOLVER} ipproto {protocol} dport 53 lookup main\n");
    format!("route add {RESOLVER}/32 dev {INTERFACE}\n{}{}", rule("udp"), rule("tcp"))
}

fn blackholes<'a>(always: impl Iterator<Item = &'a str>, own: &'a [String]) -> String {
    always.chain(own.iter().map(String::as_str)).map(|to| format!("rule add pref 2 to {to} blackhole\n")).collect()
}

/// The destinations in a list of routes as `ip -json` prints it, without loopback.
fn destinations(json: &[u8]) -> io::Result<Vec<String>> {
    let routes: serde_json::Value = serde_json::from_slice(json).map_err(io::Error::other)?;
    let destinations = routes.as_array().into_iter().flatten().filter_map(|route| route["dst"].as_str());
    let is_outside = |destination: &&str| {
        let address = destination.split('/').next().unwrap_or_default();
        address.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
    };
    Ok(destinations.filter(is_outside).map(str::to_owned).collect())
}

/// Runs a program until it ends, then ends what it left running: a pasta that fails leaves a child behind, which waits
/// for it for ever and keeps its output open.
async fn output(mut command: Command) -> io::Result<Output> {
    command.env_clear().env("PATH", SYSTEM_PATH).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let status = child.wait().await;
        drop(group);
        status
    };
    let all = async { tokio::try_join!(ended, read(stdout), read(stderr)) };
    let (status, stdout, stderr) =
        tokio::time::timeout(TRIAL_TIME, all).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(Output { status, stdout, stderr })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The processes of a program that was started in a group of its own. They end with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // it fails when all have ended
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(own: &[&str]) -> Gate {
        let own: Vec<String> = own.iter().map(|address| (*address).to_owned()).collect();
        let programs = Pasta { pasta: "pasta".into(), ip: "ip".into() };
        Gate { programs, rules: blackholes([].into_iter(), &own), rules_6: String::new(), resolver: None }
    }

    #[test]
    fn the_hosts_own_destinations_are_found_and_loopback_is_left_out() {
        let json =
            br#"[{"type":"local","dst":"127.0.0.0/8","dev":"lo"},{"type":"local","dst":"192.0.2.2","dev":"eth0"},
            {"type":"local","dst":"fd00::2"},{"type":"local","dst":"::1"},{"dst":"10.9.0.0/16"},{"dst":"default"}]"#;
        assert_eq!(destinations(json).unwrap(), ["192.0.2.2", "fd00::2", "10.9.0.0/16"]);
        assert_eq!(destinations(b"[]").unwrap(), Vec::<String>::new());
        assert!(destinations(b"not json").is_err());
    }

    /// What comes back from an address depends on the host, so this asks the kernel which ways are open.
    #[tokio::test]
    async fn no_link_local_address_is_in_reach_but_a_resolver_that_is_forwarded() {
        super::super::tests::open_the_tunnel_device();
        let bubblewrap = Path::new("/usr/bin/bwrap");
        let owner = rustix::process::geteuid().is_root().then(|| Owner::of(atelier_test_support::workspace_users()));
        let pasta = Pasta::find(bubblewrap, owner).await.unwrap();
        let ways = r#"for way in "1.1 ipproto udp dport 53" "1.1 ipproto tcp dport 53" "1.1 ipproto tcp dport 80" \
            "1.1 ipproto udp dport 54" "1.1 ipproto icmp" "1.1" "1.2 ipproto udp dport 53" "169.254"; do
            ip route get 169.254.$way >/dev/null 2>&1 && echo "$way"
        done
        ip route get 192.0.2.1 >/dev/null && echo out"#;
        for (resolver, open) in [
            (None, "out\n"),
            (Some(PathBuf::from("resolv.conf")), "1.1 ipproto udp dport 53\n1.1 ipproto tcp dport 53\nout\n"),
        ] {
            let gate = Gate { resolver, ..pasta.gate().await.unwrap() };
            let mut line = gate.line();
            line.extend(["/bin/sh", "-c", ways].map(Into::into));
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]);
            become_owner(&mut command, owner);
            let output = output(command).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), open, "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[tokio::test]
    async fn a_program_that_fails_is_over_at_once_and_leaves_nothing_running() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000000 & echo $!; echo no device >&2; exit 1"]);
        let output = output(command).await.unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b"no device\n"[..]));
        let left = String::from_utf8(output.stdout).unwrap();
        // who has ended has no command line any more, whether or not it was waited for
        let line = PathBuf::from(format!("/proc/{}/cmdline", left.trim()));
        let is_over = || std::fs::read(&line).map_or(true, |words| words.is_empty());
        super::super::tests::eventually("the end of what it left", is_over).await;
    }

    #[test]
    fn a_resolver_on_the_host_is_asked_by_another_address() {
        let gate = gate(&["192.0.2.2"]);
        let listed = "search example.test\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n";
        let made = gate.reachable_resolver(listed).unwrap();
        assert_eq!(made, "search example.test\noptions edns0\nnameserver 169.254.1.1\n");
        for near in ["nameserver 192.0.2.2", "nameserver ::1", "nameserver fe80::1%eth0", "nameserver 169.254.169.253"]
        {
            assert!(gate.reachable_resolver(near).is_some(), "{near}");
        }
        for far in ["nameserver 9.9.9.9\n", "nameserver 192.0.2.20", "", "# nameserver 127.0.0.1"] {
            assert_eq!(gate.reachable_resolver(far), None, "{far}");
        }
    }
}
