//! The container's root: overlayfs over the layers, in the shim's own mount namespace.
//!
//! Nobody else sees these mounts, and they vanish with the shim and its container, so
//! there is nothing to clean up after a crash.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    move_mount,
};

/// Takes a mount namespace of our own; mounts of the node still arrive in it.
pub(crate) fn private_mounts() -> io::Result<()> {
    super::sys::unshare(rustix::thread::UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// Mounts `lower_dirs` (topmost first) and a fresh writable layer; gives the root.
pub(crate) fn mount_root(
    dir: &Path,
    lower_dirs: &[PathBuf],
    rootless: bool,
) -> io::Result<PathBuf> {
    let [upper, work, root] = ["upper", "work", "rootfs"].map(|name| dir.join(name));
    for made in [&upper, &work, &root] {
        fs::create_dir_all(made)?;
    }
    // An image without layers: overlayfs wants at least one.
    let empty = dir.join("empty");
    let mut lower_dirs = lower_dirs.to_vec();
    if lower_dirs.is_empty() {
        fs::create_dir_all(&empty)?;
        lower_dirs.push(empty);
    }
    let layers = Layers { lower_dirs: &lower_dirs, upper: &upper, work: &work, rootless };
    match layers.mount_each(&root) {
        // `lowerdir+` is Linux 6.7's.
        Err(error) if !is_out_of_room(&error) => layers.mount_one_page(dir, &root)?,
        mounted => mounted?,
    }
    Ok(root)
}

fn is_out_of_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StorageFull
}

struct Layers<'a> {
    lower_dirs: &'a [PathBuf],
    upper: &'a Path,
    work: &'a Path,
    rootless: bool,
}

impl Layers<'_> {
    /// One call for each layer: any number of them, and any characters in the paths.
    fn mount_each(&self, root: &Path) -> io::Result<()> {
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in self.lower_dirs {
            fsconfig_set_string(&overlay, "lowerdir+", lower)?;
        }
        fsconfig_set_string(&overlay, "upperdir", self.upper)?;
        fsconfig_set_string(&overlay, "workdir", self.work)?;
        if self.rootless {
            fsconfig_set_flag(&overlay, "userxattr")?;
        }
        fsconfig_create(&overlay)?;
        let mounted = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(move_mount(&mounted, "", CWD, root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }

    /// All options on one page of 4096 bytes: short names make room for many layers.
    fn mount_one_page(&self, dir: &Path, root: &Path) -> io::Result<()> {
        let links = dir.join("l");
        fs::create_dir_all(&links)?;
        let mut names = Vec::new();
        for (number, lower) in self.lower_dirs.iter().enumerate() {
            let link = links.join(number.to_string());
            crate::fs::remove_file(&link)?;
            symlink(lower, &link)?;
            names.push(format!("l/{number}"));
        }
        let userxattr = if self.rootless { ",userxattr" } else { "" };
        let options =
            format!("lowerdir={},upperdir=upper,workdir=work{userxattr}", names.join(":"));
        // The shim's working directory is `dir`: the names are relative to it.
        std::env::set_current_dir(dir)?;
        let options = std::ffi::CString::new(options)?;
        Ok(mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str())?)
    }
}
