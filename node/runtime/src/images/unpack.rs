//! Unpacks one layer into a directory of its own, in the form that overlayfs reads.
//!
//! A layer comes from a stranger. Every path is resolved by the kernel beneath the
//! layer's directory (`openat2` with `RESOLVE_IN_ROOT`), so no name and no symbolic
//! link in it reaches anything else; a layer that tries is refused.
//!
//! Whiteouts become character devices 0:0 and opaque directories an attribute, as
//! the kernel's overlayfs documentation says.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use tar::{Archive, Entry, EntryType};

use super::content::HashReader;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Above so many files one `syncfs` costs less than an fsync for each.
const SYNCED_ONE_BY_ONE_MAX: usize = 64;

/// Who unpacks, which decides what the file system lets us write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Privilege {
    /// Root of the machine: owners, devices and all attributes are kept.
    Root,
    /// Root of a user namespace with one user: all files belong to that user.
    OneUser,
}

impl Privilege {
    const fn opaque_attribute(self) -> &'static str {
        match self {
            Self::Root => "trusted.overlay.opaque",
            Self::OneUser => "user.overlay.opaque",
        }
    }
}

/// What an unpacked layer was.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: String,
}

/// Undoes the compression, which the first bytes tell: media types are not always right.
pub(crate) fn decompress<'a>(mut layer: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(4);
    layer.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = magic.clone();
    let whole = io::Cursor::new(magic).chain(layer);
    Ok(match kind.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// Unpacks a layer, compressed or not, into `dir`, which must exist and be empty.
pub(crate) fn unpack(layer: impl Read, dir: &Path, who: Privilege) -> io::Result<Unpacked> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
    let mut unpacker = Unpacker { root, who, n_files: 0, dir_times: Vec::new() };
    let mut reader = HashReader::new(decompress(layer)?);
    let mut archive = Archive::new(&mut reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        unpacker.entry(&mut entry, &path).map_err(|error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        })?;
    }
    unpacker.finish_dirs()?;
    unpacker.sync(dir)?;
    let (diff_id, _) = reader.finish()?;
    Ok(Unpacked { diff_id })
}

struct Unpacker {
    root: OwnedFd,
    who: Privilege,
    n_files: usize,
    dir_times: Vec<(PathBuf, i64)>,
}

/// The path without `/` and `.` at its front; none with `..`, which no honest layer has.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "path leaves the layer"));
            }
        }
    }
    Ok(cleaned)
}

impl Unpacker {
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    /// Opens a directory of the layer; makes it and those above it if they are missing.
    fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.open(path, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = self.open_dir(parent)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        self.open(path, flags)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "formats know kinds that we do not")]
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let path = clean(path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself: only its mode matters.
            let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
            return Ok(rustix::fs::fchmod(&self.root, mode)?);
        };
        let parent = self.open_dir(path.parent().unwrap_or_else(|| Path::new("")))?;
        if name.as_bytes() == WHITEOUT_OPAQUE {
            let attribute = self.who.opaque_attribute();
            return Ok(rustix::fs::fsetxattr(&parent, attribute, b"y", XattrFlags::empty())?);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return whiteout(&parent, OsStr::from_bytes(hidden));
        }
        match entry.header().entry_type() {
            EntryType::Directory => self.directory(entry, &parent, &path, &name),
            EntryType::Link => self.hard_link(entry, &parent, &name),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                clear(&parent, &name)?;
                rustix::fs::symlinkat(target.as_slice(), &parent, &name)?;
                self.attributes(entry, &parent, &name, None)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.regular(entry, &parent, &name)
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                self.special(entry, &parent, &name)
            }
            // Headers about other headers: the tar reader has taken what matters.
            _ => Ok(()),
        }
    }

    fn directory<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
    ) -> io::Result<()> {
        let old = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_dir = |mode| FileType::from_raw_mode(mode) == FileType::Directory;
        if !old.is_ok_and(|stat| is_dir(stat.st_mode)) {
            clear(parent, name)?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        // Files that come later would change the time again.
        self.dir_times.push((path.to_owned(), mtime(entry)));
        self.attributes(entry, parent, name, Some(&dir))
    }

    fn regular<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> io::Result<()> {
        clear(parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        io::copy(entry, &mut file)?;
        self.n_files += 1;
        if self.n_files <= SYNCED_ONE_BY_ONE_MAX {
            file.sync_all()?;
        }
        self.attributes(entry, parent, name, Some(&OwnedFd::from(file)))
    }

    fn hard_link<R: Read>(
        &self,
        entry: &Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> io::Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let target = clean(Path::new(OsStr::from_bytes(&target)))?;
        let Some(target_name) = target.file_name() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "link to no file"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let target_dir = self.open(target.parent().unwrap_or_else(|| Path::new("")), flags)?;
        clear(parent, name)?;
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link stays one.
        Ok(rustix::fs::linkat(target_dir, target_name, parent, name, AtFlags::empty())?)
    }

    fn special<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> io::Result<()> {
        let header = entry.header();
        let kind = header.entry_type();
        let (kind, device) = if kind.is_fifo() {
            (FileType::Fifo, 0)
        } else if self.who == Privilege::OneUser {
            // A user namespace may not make devices; its containers get their own /dev.
            return Ok(());
        } else {
            let major = header.device_major()?.unwrap_or(0);
            let minor = header.device_minor()?.unwrap_or(0);
            let character = kind.is_character_special();
            let kind = if character { FileType::CharacterDevice } else { FileType::BlockDevice };
            (kind, rustix::fs::makedev(major, minor))
        };
        clear(parent, name)?;
        rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?;
        self.attributes(entry, parent, name, None)
    }

    /// Owner, then extended attributes, then mode (a change of owner clears setuid),
    /// then time. `file` is given for what can be opened.
    fn attributes<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &OsStr,
        file: Option<&OwnedFd>,
    ) -> io::Result<()> {
        if self.who == Privilege::Root {
            let id = |value: u64| {
                u32::try_from(value)
                    .ok()
                    .filter(|id| *id != u32::MAX)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "owner out of range"))
            };
            let header = entry.header();
            // A blank field is zero, as for GNU tar; another unreadable one is an error.
            let blank = |field: &[u8; 8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
            let old = header.as_old();
            let uid = if blank(&old.uid) { 0 } else { header.uid()? };
            let gid = if blank(&old.gid) { 0 } else { header.gid()? };
            let (owner, group) = (Some(Uid::from_raw(id(uid)?)), Some(Gid::from_raw(id(gid)?)));
            rustix::fs::chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(file) = file {
            self.extended_attributes(entry, file)?;
        }
        if entry.header().entry_type() != EntryType::Symlink {
            let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
            match file {
                Some(file) => rustix::fs::fchmod(file, mode)?,
                None => rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?,
            }
        }
        Ok(set_mtime(parent, name, mtime(entry))?)
    }

    fn extended_attributes<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        file: &OwnedFd,
    ) -> io::Result<()> {
        let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
        for extension in extensions {
            let extension = extension?;
            let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else {
                continue;
            };
            // `trusted.*` and the overlay's own marks would steer overlayfs itself.
            let ours = name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.");
            let forbidden = self.who == Privilege::OneUser && name.starts_with(b"security.");
            if ours || forbidden {
                continue;
            }
            match rustix::fs::fsetxattr(file, name, extension.value_bytes(), XattrFlags::empty()) {
                // A file system without them: Docker drops them as well.
                Err(rustix::io::Errno::OPNOTSUPP) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn finish_dirs(&self) -> io::Result<()> {
        for (path, seconds) in self.dir_times.iter().rev() {
            // A later entry may have replaced the directory.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let parent = path.parent().unwrap_or_else(|| Path::new(""));
            if let (Ok(_), Some(name)) = (self.open(path, flags), path.file_name()) {
                set_mtime(&self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?, name, *seconds)?;
            }
        }
        Ok(())
    }

    /// Makes the layer survive a power cut before anybody relies on it.
    fn sync(&self, dir: &Path) -> io::Result<()> {
        if SYNCED_ONE_BY_ONE_MAX < self.n_files + self.dir_times.len() {
            return Ok(rustix::fs::syncfs(&self.root)?);
        }
        for (path, _) in &self.dir_times {
            if let Ok(dir) = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                rustix::fs::fsync(dir)?;
            }
        }
        crate::fs::sync_dir(dir)
    }
}

fn mtime<R: Read>(entry: &Entry<'_, R>) -> i64 {
    i64::try_from(entry.header().mtime().unwrap_or(0)).unwrap_or(0)
}

fn set_mtime(parent: &OwnedFd, name: &OsStr, seconds: i64) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Removes what an earlier entry of the same name left.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR) => {
            // Only reachable inside the layer: `parent` is, and the name is no link.
            let path = PathBuf::from(format!("/proc/self/fd/{}", raw(parent))).join(name);
            fs::remove_dir_all(path)
        }
        Err(error) => Err(error.into()),
    }
}

fn raw(fd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

fn whiteout(parent: &OwnedFd, hidden: &OsStr) -> io::Result<()> {
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "whiteout of no file"));
    }
    let kind = FileType::CharacterDevice;
    match rustix::fs::mknodat(parent, OsString::from(hidden), kind, Mode::empty(), 0) {
        // A whiteout hides lower layers only: what this layer has itself stays.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
