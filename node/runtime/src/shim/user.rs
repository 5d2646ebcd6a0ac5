//! `user[:group]` as numbers, looked up in the files of the image.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Bytes of `/etc/passwd` and `/etc/group` that are read: an image's files come from a
/// stranger, and 1 MiB are ten thousand users.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Who a process is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Looks up a user in the root file system at `root`.
pub(crate) fn resolve(root: &Path, user: &str, extra: &[String]) -> Result<User, String> {
    let passwd = read_beneath(root, "etc/passwd");
    let group = read_beneath(root, "etc/group");
    resolve_in(&passwd, &group, user, extra)
}

/// A file of the image; empty if there is none. No link of it leads out of the image.
fn read_beneath(root: &Path, path: &str) -> String {
    let dir_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut bytes = Vec::new();
    if let Ok(root) = openat(CWD, root, dir_flags, Mode::empty())
        && let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve)
    {
        // What can be read counts; a file that cannot be read has no users.
        let _ = File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn resolve_in(passwd: &str, group: &str, user: &str, extra: &[String]) -> Result<User, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    // A line of passwd: name, password, uid, gid, …
    let entry = passwd.lines().map(fields).find(|line| {
        let uid = line.get(2).and_then(|uid| uid.parse::<u32>().ok());
        line.first() == Some(&user) || (number.is_some() && uid == number)
    });
    let field = |index: usize| {
        entry.as_ref().and_then(|line| line.get(index)).and_then(|text| text.parse::<u32>().ok())
    };
    let uid =
        number.or_else(|| field(2)).ok_or_else(|| format!("no user `{user}` in the image"))?;
    let gid = match wanted_group {
        Some(name) => find_group(group, name)?,
        None => field(3).unwrap_or(0),
    };
    let mut groups = Vec::new();
    if wanted_group.is_none()
        && let Some(name) = entry.as_ref().and_then(|line| line.first())
    {
        let member =
            |line: &Vec<&str>| line.get(3).is_some_and(|m| m.split(',').any(|m| m == *name));
        let ids = group.lines().map(fields).filter(member);
        groups.extend(ids.filter_map(|line| line.get(2).and_then(|gid| gid.parse::<u32>().ok())));
    }
    for name in extra {
        groups.push(find_group(group, name)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups })
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(':').collect()
}

fn find_group(group: &str, name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let line = group.lines().map(fields).find(|line| line.first() == Some(&name));
    let gid = line.and_then(|line| line.get(2).and_then(|gid| gid.parse().ok()));
    gid.ok_or_else(|| format!("no group `{name}` in the image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\naudio:x:29:www-data,root\nvideo:x:44:other\n";

    #[test]
    fn users_are_names_or_numbers() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        for (text, extra, expected) in [
            ("", &[][..], user(0, 0, &[29])),
            ("www-data", &[], user(33, 34, &[29])),
            ("33", &[], user(33, 34, &[29])),
            ("www-data:video", &[], user(33, 44, &[])),
            ("1000", &[], user(1000, 0, &[])),
            ("1000:1001", &["audio", "7"], user(1000, 1001, &[7, 29])),
            (":34", &[], user(0, 34, &[])),
            ("nobody", &[], Err("no user `nobody` in the image".to_owned())),
            ("0:none", &[], Err("no group `none` in the image".to_owned())),
        ] {
            let extra: Vec<String> = extra.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(resolve_in(PASSWD, GROUP, text, &extra), expected, "{text}");
        }
    }

    #[test]
    fn links_of_the_image_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        assert!(resolve(dir.path(), "root", &[]).is_err());
    }
}
