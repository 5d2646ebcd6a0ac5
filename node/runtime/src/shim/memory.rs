//! Secrets and configs of a container: from the daemon through a pipe into memory.
//!
//! The daemon writes one after the other into our standard input, each with its length in
//! front; the request, which lies on a disk, only says where they go. They are in a tmpfs of
//! our own mount namespace, so they vanish with us and the container, and nobody who looks at
//! the node's mounts sees them.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crypto::SecretBytes;
use rustix::mount::{MountFlags, mount};

use super::request::FileRequest;
use crate::file::TaskFile;

/// Longest file: a config is below 1,000 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What goes in front of a content.
pub(crate) fn length_prefix(file: &TaskFile) -> [u8; 8] {
    (file.data.len() as u64).to_le_bytes()
}

/// Reads the contents of as many files as the request names.
pub(super) fn receive(mut input: impl Read, n_files: usize) -> io::Result<Vec<SecretBytes>> {
    let one = |_| {
        let mut length = [0; 8];
        input.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if FILE_BYTES_MAX < length {
            return Err(io::Error::other(format!("{length} bytes are too many for one file")));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        input.read_exact(&mut bytes)?;
        Ok(SecretBytes::new(bytes))
    };
    (0..n_files).map(one).collect()
}

/// Puts the files into a tmpfs below `dir`. To be called in a mount namespace of our own.
pub(super) fn place(
    dir: &Path,
    requests: &[FileRequest],
    contents: Vec<SecretBytes>,
) -> io::Result<()> {
    if requests.is_empty() {
        return Ok(());
    }
    let memory = dir_of(dir);
    fs::create_dir_all(&memory)?;
    mount_memory(&memory, None)?;
    for (number, (request, content)) in requests.iter().zip(contents).enumerate() {
        let FileRequest { uid, gid, mode, .. } = *request;
        write_file(&path_of(dir, number), content.as_bytes(), (uid, gid), mode)?;
    }
    Ok(())
}

/// Writes a file that is not there yet, for an owner and a group.
pub(crate) fn write_file(
    path: &Path,
    content: &[u8],
    (uid, gid): (u32, u32),
    mode: u32,
) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    // In this order: a new owner takes special permissions away.
    chown(path, Some(uid), Some(gid))?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// Mounts memory that only root enters; with a limit in bytes, if there is one.
pub(crate) fn mount_memory(target: &Path, size_max: Option<u64>) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Kept out of swap where the kernel can (6.4) and we may (root of the machine).
    let size = size_max.map_or_else(String::new, |bytes| format!(",size={bytes}"));
    let mount_with = |options: String| {
        let options = CString::new(options).map_err(io::Error::other)?;
        Ok(mount("tmpfs", target, "tmpfs", flags, Some(options.as_c_str()))?)
    };
    mount_with(format!("mode=0700{size},noswap"))
        .or_else(|_: io::Error| mount_with(format!("mode=0700{size}")))
}

fn dir_of(dir: &Path) -> PathBuf {
    dir.join("files")
}

/// Where a file is until it is mounted at its place.
pub(super) fn path_of(dir: &Path, number: usize) -> PathBuf {
    dir_of(dir).join(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received_and_nothing_else() {
        let mut sent = Vec::new();
        for content in [&b"one"[..], b"", b"three"] {
            sent.extend((content.len() as u64).to_le_bytes());
            sent.extend(content);
        }
        let received = receive(&sent[..], 3).unwrap();
        let received: Vec<&[u8]> = received.iter().map(SecretBytes::as_bytes).collect();
        assert_eq!(received, [&b"one"[..], b"", b"three"]);
        assert!(receive(&sent[..], 4).is_err(), "a daemon that died in the middle");
        assert!(receive(&u64::MAX.to_le_bytes()[..], 1).is_err());
    }
}
