//! What layers may and may not do to a directory.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

/// A layer under construction.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, mode: u32, bytes: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        // Hostile names must get in as they are.
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    fn file(self, path: &str, bytes: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, 0o644, bytes)
    }

    fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, b"")
    }

    fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_link_name_literal(target).unwrap();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        self.0.append(&header, io::empty()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn who() -> Privilege {
    if rustix::process::geteuid().is_root() { Privilege::Root } else { Privilege::OneUser }
}

fn unpacked(layer: Layer) -> (tempfile::TempDir, io::Result<Unpacked>) {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(layer.bytes().as_slice(), dir.path(), who());
    (dir, result)
}

#[test]
fn files_links_and_modes_arrive_as_they_were() {
    let layer = Layer::new()
        .dir("bin/", 0o750)
        .entry(EntryType::Regular, "bin/su", 0o4755, b"su")
        .link(EntryType::Link, "bin/su2", "bin/su")
        .link(EntryType::Symlink, "bin/abs", "/bin/su")
        .file("./deep/er/file", b"x")
        .entry(EntryType::Fifo, "pipe", 0o600, b"");
    let (dir, result) = unpacked(layer);
    result.unwrap();
    let at = |name: &str| dir.path().join(name);
    assert_eq!(fs::metadata(at("bin")).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(at("bin")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(at("bin/su")).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(at("bin/su")).unwrap().nlink(), 2);
    assert_eq!(fs::read_link(at("bin/abs")).unwrap(), Path::new("/bin/su"));
    assert_eq!(fs::read(at("deep/er/file")).unwrap(), b"x");
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn whiteouts_hide_what_lies_below_and_nothing_else() {
    let layer = Layer::new()
        .file("etc/.wh.gone", b"")
        .file("etc/kept", b"new")
        .file("etc/.wh.kept", b"")
        .dir("var/", 0o755)
        .file("var/.wh..wh..opq", b"");
    let (dir, result) = unpacked(layer);
    result.unwrap();
    let gone = fs::metadata(dir.path().join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    assert_eq!(fs::read(dir.path().join("etc/kept")).unwrap(), b"new");
    let mut value = [0; 4];
    let attribute = who().opaque_attribute();
    let n_read = rustix::fs::getxattr(dir.path().join("var"), attribute, &mut value).unwrap();
    assert_eq!(&value[..n_read], b"y");
}

#[test]
fn nothing_is_ever_written_outside() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, b"old").unwrap();
    let out = outside.path().to_str().unwrap();
    let layers = [
        ("dot dot", Layer::new().file("../victim", b"new")),
        ("deep dot dot", Layer::new().file("a/../../victim", b"new")),
        (
            "absolute link",
            Layer::new().link(EntryType::Symlink, "esc", out).file("esc/victim", b"new"),
        ),
        (
            "relative link",
            Layer::new()
                .link(EntryType::Symlink, "esc", "../../../../tmp")
                .file("esc/pwned", b"new"),
        ),
        ("hard link", Layer::new().link(EntryType::Link, "h", "../../etc/passwd")),
        (
            "hard link through a link",
            Layer::new().link(EntryType::Symlink, "esc", out).link(
                EntryType::Link,
                "h",
                "esc/victim",
            ),
        ),
        (
            "magic link",
            Layer::new().link(EntryType::Symlink, "p", "/proc/self/root").file("p/x", b""),
        ),
        ("whiteout of dot dot", Layer::new().file("a/.wh...", b"")),
    ];
    for (what, layer) in layers {
        let (dir, result) = unpacked(layer);
        assert!(result.is_err(), "{what}");
        assert_eq!(fs::read(&victim).unwrap(), b"old", "{what}");
        assert!(!Path::new("/tmp/pwned").exists(), "{what}");
        assert!(!dir.path().join("h").exists(), "{what}");
    }
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, b"old").unwrap();
    let target = victim.to_str().unwrap();
    let layer = Layer::new().link(EntryType::Symlink, "passwd", target).file("passwd", b"new");
    let (dir, result) = unpacked(layer);
    result.unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"old");
    assert_eq!(fs::read(dir.path().join("passwd")).unwrap(), b"new");
}

#[test]
fn compression_is_told_by_the_first_bytes_and_the_diff_id_is_that_of_the_plain_bytes() {
    use std::io::Write;
    let plain = Layer::new().file("a", b"hello").bytes();
    let expected = super::super::content::digest_of(&plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for layer in [plain, gzip, zstd] {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = unpack(layer.as_slice(), dir.path(), who()).unwrap();
        assert_eq!(unpacked.diff_id, expected);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"hello");
    }
}

#[test]
fn a_layer_that_ends_too_early_is_an_error() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, &Layer::new().file("a", &[7; 9000]).bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(unpack(&whole[..whole.len() / 2], dir.path(), who()).is_err());
}
