//! Hosts made of network namespaces, and what can go wrong between them.
//!
//! The bridge lives in a namespace of its own: one in the root namespace is filtered by whatever
//! firewall the machine has. Programs are started with `nsenter --net`, because `ip netns exec`
//! hides the cgroup mounts from them.
#![expect(clippy::expect_used, reason = "only tests link this, and they end so")]

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One network at a time: the machine has little room, and names are taken.
static ONE: Mutex<()> = Mutex::new(());

/// The address of the machine that is no host: where strangers and users are.
const OUTSIDE: &str = "10.77.0.254/24";

/// The address of host `n`, from 1.
#[must_use]
pub fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(n).expect("few hosts"))
}

/// Hosts on one bridge; they are removed with it.
#[derive(Debug)]
pub struct Network {
    n_hosts: usize,
    _one: MutexGuard<'static, ()>,
}

impl Network {
    /// A bridge and hosts 1 to `n_hosts`.
    #[must_use]
    pub fn new(n_hosts: usize) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let network = Self { n_hosts, _one: one };
        let bridge = network.bridge();
        run("ip", &["netns", "add", &bridge]);
        run("ip", &["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        run("ip", &["-n", &bridge, "addr", "add", OUTSIDE, "dev", "br0"]);
        run("ip", &["-n", &bridge, "link", "set", "br0", "up"]);
        for n in 1..=n_hosts {
            let (host, port) = (network.host(n), format!("v{n}"));
            run("ip", &["netns", "add", &host]);
            let peer = ["type", "veth", "peer", "name", &port, "netns", &bridge];
            run("ip", &[&["-n", &host, "link", "add", "eth0"], peer.as_slice()].concat());
            run("ip", &["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
            let own = format!("{}/24", address(n));
            run("ip", &["-n", &host, "addr", "add", &own, "dev", "eth0"]);
            run("ip", &["-n", &host, "link", "set", "lo", "up"]);
            run("ip", &["-n", &host, "link", "set", "eth0", "up"]);
        }
        network
    }

    /// How many hosts there are.
    #[must_use]
    pub const fn n_hosts(&self) -> usize {
        self.n_hosts
    }

    fn bridge(&self) -> String {
        format!("sk{}b", std::process::id())
    }

    fn host(&self, n: usize) -> String {
        format!("sk{}h{n}", std::process::id())
    }

    /// A program on host `n`, with an environment that names nothing of this test.
    #[must_use]
    pub fn command(&self, n: usize, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", place(&self.host(n)).display())).arg(program);
        command.env_clear().env("HOME", "/nonexistent");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Pulls or plugs the cable of host `n`.
    pub fn set_cable(&self, n: usize, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        run("ip", &["-n", &self.bridge(), "link", "set", &format!("v{n}"), state]);
    }

    /// Host `n` hears nothing any more and is still heard.
    pub fn deafen(&self, n: usize) {
        self.filter(n, "counter drop");
    }

    /// Hosts `a` and `b` do not hear each other any more; both hear everybody else.
    pub fn cut(&self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.filter(to, &format!("ip saddr {} counter drop", address(from)));
        }
    }

    /// Host `n` loses so many percent of what it should receive.
    pub fn lose(&self, n: usize, percent: u32) {
        self.filter(n, &format!("numgen random mod 100 < {percent} counter drop"));
    }

    fn filter(&self, n: usize, rule: &str) {
        let rules = format!(
            "table inet skep {{\n chain in {{\n type filter hook input priority 0;\n \
             iif \"eth0\" {rule}\n }}\n}}\n"
        );
        let mut nft = self
            .command(n, Path::new("nft"))
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft of nftables runs");
        let mut stdin = nft.stdin.take().expect("it is piped");
        stdin.write_all(rules.as_bytes()).expect("nft reads");
        drop(stdin);
        assert!(nft.wait().expect("it is ours").success(), "nft refused:\n{rules}");
    }

    /// Host `n` hears everything again.
    pub fn heal(&self, n: usize) {
        let nft = Path::new("nft");
        let done = self.command(n, nft).args(["delete", "table", "inet", "skep"]).status();
        assert!(done.expect("nft of nftables runs").success(), "nft refused");
    }

    /// How many packets host `n` lost since it was deafened or began to lose them.
    #[must_use]
    pub fn n_dropped(&self, n: usize) -> u64 {
        let mut nft = self.command(n, Path::new("nft"));
        let listed = nft.args(["list", "table", "inet", "skep"]).output();
        let listed = listed.expect("nft of nftables runs").stdout;
        let listed = String::from_utf8_lossy(&listed);
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Does something on the machine that is no host.
    pub fn outside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        within(&self.bridge(), act)
    }

    /// Does something on host `n`.
    pub fn on<T: Send>(&self, n: usize, act: impl FnOnce() -> T + Send) -> T {
        within(&self.host(n), act)
    }
}

/// Does something in a network namespace.
fn within<T: Send>(name: &str, act: impl FnOnce() -> T + Send) -> T {
    let space = File::open(place(name)).expect("the namespace is there");
    let moved = || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(space.as_fd(), kind).expect("root may enter it");
        act()
    };
    // A namespace belongs to a thread: this one ends with what it does.
    std::thread::scope(|scope| scope.spawn(moved).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = (1..=self.n_hosts).map(|n| self.host(n));
        for name in hosts.chain([self.bridge()]) {
            // It may not have come to that.
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

fn place(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        unreachable!("the live tests need `{program}` (Debian: iproute2): {error}")
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {error}", arguments.join(" "));
}
