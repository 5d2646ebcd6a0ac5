//! Machines that lack something: a full disk, a wrong clock, no privilege.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tests::live::{pause, possible};

use crate::desk::Desk;

/// Room for a ballast and four times as much, as on a machine that is not full yet.
const DISK: &str = "size=128m";

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A small disk, mounted as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let options = ["-t", "tmpfs", "-o", DISK, "skep-test"];
        let mounted = Command::new("mount").args(options).arg(&path).status().unwrap();
        assert!(mounted.success(), "root may mount a tmpfs");
        Self(path)
    }

    /// Takes all of the space; not an error of ours that there is no more.
    fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        let block = vec![7; 1 << 16];
        while filler.write_all(&block).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status(); // At best.
    }
}

#[test]
fn a_full_disk_stops_the_node_and_loses_nothing() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    let disk = Disk::mount(desk.path("n1"));
    let line = "--runtime fake --key-file k --found";
    let create =
        |n: u32| format!("service create --detach --replicas 0 --name before{n} skep/demo");
    desk.up(1, line);
    desk.until(1, "node ls", &["Leader"]);
    desk.answers(1, &create(1), 0, "");
    disk.fill();
    // What is on its way when the disk is full is not acknowledged; everything else stays.
    let mut acknowledged = vec!["before1".to_owned()];
    for n in 2..200 {
        match desk.ask(1, &create(n)).code {
            Some(0) => acknowledged.push(format!("before{n}")),
            _ => break,
        }
    }
    assert_eq!(desk.ended(1), Some(1));
    let said = desk.words_of(1);
    assert!(said.contains("free some space on that disk and start again"), "{said}");

    // Still full: the ballast makes room for coming back, and for removing something.
    desk.up(1, line);
    let services = desk.until(1, "service ls", &["before1"]);
    let lost: Vec<_> = acknowledged.iter().filter(|name| !services.contains(*name)).collect();
    assert!(lost.is_empty(), "{lost:?} were acknowledged and are gone");
    desk.answers(1, "service rm before1", 0, "before1");
    desk.stop(1);

    fs::remove_file(disk.0.join("filler")).unwrap();
    desk.up(1, line);
    desk.until(1, "node ls", &["Leader"]);
    desk.answers(1, &create(1), 0, "");
}

/// A clock that goes so many seconds before the machine's.
const SHIFTED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t which, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += 3 * 3600;
    return result;
}
"#;

#[test]
fn a_wrong_clock_is_suspected_and_shown() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    fs::write(desk.path("clock.c"), SHIFTED_CLOCK).unwrap();
    let mut cc = desk.command(Path::new("cc"));
    cc.args(["-shared", "-fPIC", "-o", "clock.so", "clock.c"]);
    let compiled = desk.hear(cc);
    assert_eq!(compiled.code, Some(0), "{compiled:?}");

    let line = "--runtime fake --key-file k --seed 127.0.0.1 --seed 127.0.0.2";
    desk.up(1, line);
    let library = desk.path("clock.so");
    desk.preload(Some(library));
    desk.up(2, line);
    desk.preload(None);
    let why = "or one of the two clocks is wrong (here it is 20";
    desk.until(1, "status", &["waiting for seeds: 1 of 2", why]);
    desk.until(2, "status", &["waiting for seeds: 1 of 2", why]);
    desk.stop(2);
    desk.up(2, line);
    desk.until(1, "status", &["2 nodes", "1 manager"]);
}

#[test]
fn a_machine_without_what_containers_need_says_so_in_one_line_each() {
    if !possible() {
        return;
    }
    let desk = Desk::new();
    let up = format!("up --runtime embedded --key-file k --found {}", desk.place(1));
    let skep = tests::live::binary().display().to_string();
    let line = format!("{skep} {up}");
    let groups = "umount -R /sys/fs/cgroup";
    let readonly = "for m in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do \
                    mount -o remount,bind,ro $m; done";
    let less = "setpriv --bounding-set -sys_admin --inh-caps -sys_admin";
    for (script, words) in [
        (format!("{groups}; exec {line}"), "mount -t cgroup2 none /sys/fs/cgroup"),
        (format!("{readonly}; exec {line}"), "control groups cannot be written"),
        (format!("exec {less} {line}"), "CAP_SYS_ADMIN"),
    ] {
        let mut command = desk.command(Path::new("unshare"));
        command.args(["--mount", "sh", "-c", &script]);
        let said = desk.hear(command);
        let lacks: Vec<_> = said.text.lines().filter(|line| line.starts_with("  ")).collect();
        let named = lacks.len() == 1 && lacks[0].contains(words);
        assert!(said.code == Some(1) && named, "{script}: {said:?}");
        assert!(lacks[0].contains("--runtime process"), "{said:?}");
    }
}

/// A user namespace with the numbers of many users, as long as this lives.
struct UserSpace(Child);

impl UserSpace {
    fn new(desk: &Desk) -> Self {
        let mut holder = desk.command(Path::new("unshare"));
        let holder = holder.args(["--user", "sleep", "60"]).spawn().unwrap();
        let of = |pid: &str, file: &str| Path::new("/proc").join(pid).join(file);
        let pid = holder.id().to_string();
        let space = |pid: &str| fs::read_link(of(pid, "ns/user")).ok();
        while space(&pid) == space("self") {
            pause(LOOK);
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(of(&pid, map), "0 0 65536").unwrap();
        }
        Self(holder)
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It ends by itself otherwise.
        let _ = self.0.wait();
    }
}

#[test]
fn an_ordinary_user_is_told_what_is_not_allowed() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    let up = "up --runtime embedded --key-file k --found --advertise 127.0.0.1";
    let said = desk.hear(desk.as_user(&format!("{up} --data-dir /var/lib/skep-of-root"), true));
    assert!(said.code == Some(1) && said.text.contains("run as its owner"), "{said:?}");
    let mut homeless = desk.as_user(up, false);
    homeless.env_remove("HOME");
    let said = desk.hear(homeless);
    assert!(said.code == Some(2) && said.text.contains("give --data-dir"), "{said:?}");

    // Nobody of this user namespace may make another one.
    let inner = desk.as_user(up, true);
    let holder = UserSpace::new(&desk);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let mut forbidden = desk.command(Path::new("nsenter"));
    forbidden.arg(format!("--user=/proc/{}/ns/user", holder.0.id()));
    // Its first argument enters the network of the host, where this is already.
    forbidden.args(["sh", "-c", script]).args(inner.get_args().skip(1));
    forbidden.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    forbidden.current_dir(desk.path("home"));
    let said = desk.hear(forbidden);
    drop(holder);
    let cure = "sudo sysctl -w user.max_user_namespaces";
    assert!(said.code == Some(1) && said.text.contains(cure), "{said:?}");
    assert!(said.text.contains("--runtime process"), "{said:?}");

    // Both of a user's places for the socket are found without a word.
    for with_runtime_dir in [true, false] {
        let daemon = desk.as_user(up, with_runtime_dir);
        desk.start(1, daemon);
        let began = std::time::Instant::now();
        loop {
            let said = desk.hear(desk.as_user("node ls", with_runtime_dir));
            if said.code == Some(0) && said.text.contains("Leader") {
                break;
            }
            desk.all_live();
            assert!(began.elapsed() < crate::desk::PATIENCE, "{said:?}");
        }
        desk.stop(1);
    }
}
