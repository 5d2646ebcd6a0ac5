//! The store as a whole, from files; registries need one that runs.

use std::sync::Arc;

use super::*;

fn who() -> Privilege {
    if rustix::process::geteuid().is_root() { Privilege::Root } else { Privilege::OneUser }
}

fn store(dir: &Path) -> Arc<ImageStore> {
    Arc::new(ImageStore::open(dir, who()).unwrap())
}

fn layer(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, path, bytes);
    builder.into_inner().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, bytes).unwrap();
}

/// An archive as `docker save` writes it.
fn saved(architecture: &str, diff_id: Option<&str>) -> Vec<u8> {
    let layer = layer("hello", b"world");
    let diff_id = diff_id.map_or_else(|| digest_of(&layer), str::to_owned);
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["/hello"], "Env": null},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let manifest = serde_json::json!([{
        "Config": "c.json", "RepoTags": ["busy:1", "other/busy:2"], "Layers": ["1/layer.tar"],
    }]);
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "c.json", config.to_string().as_bytes());
    append(&mut builder, "1/layer.tar", &layer);
    append(&mut builder, "manifest.json", manifest.to_string().as_bytes());
    builder.into_inner().unwrap()
}

fn architecture() -> String {
    node_platform().replace("linux/", "")
}

#[tokio::test]
async fn the_demo_image_is_always_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for name in ["skep/demo", "skep/demo:latest", "docker.io/skep/demo"] {
        let ready = store.ready(name, None).await.unwrap();
        assert!(ready.is_demo, "{name}");
        let program = fs::read(ready.lower_dirs[0].join("demo")).unwrap();
        assert_eq!(program, DEMO_PROGRAM);
    }
    let pinned = format!("skep/demo:latest@{}", store.demo_digest);
    assert!(store.ready(&pinned, None).await.unwrap().is_demo);
    assert!(store.remove("skep/demo").is_err());
}

#[tokio::test]
async fn a_saved_archive_is_loaded_run_removed_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.tar");
    fs::write(&archive, saved(&architecture(), None)).unwrap();
    let store = store(&dir.path().join("images"));
    let loaded = store.load(&archive).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].names, ["busy:1", "other/busy:2"]);
    assert_eq!(loaded[0].created_at, Some(UnixNanos(1_704_164_645_000_000_000)));

    let ready = store.ready("busy:1", None).await.unwrap();
    assert_eq!(ready.run.cmd, Some(vec!["/hello".to_owned()]));
    assert_eq!(fs::read(ready.lower_dirs[0].join("hello")).unwrap(), b"world");

    store.remove("busy:1").unwrap();
    assert_eq!(
        store.collect(|| Ok(Vec::new())).await.unwrap(),
        Freed::default(),
        "it has another name"
    );
    store.remove("other/busy:2").unwrap();
    store.collect(|| Ok(ready.lower_dirs.clone())).await.unwrap();
    assert!(ready.lower_dirs[0].exists(), "a task uses it");
    store.collect(|| Ok(Vec::new())).await.unwrap();
    assert!(!ready.lower_dirs[0].exists());
    assert!(store.ready("skep/demo", None).await.unwrap().lower_dirs[0].exists());
}

#[tokio::test]
async fn an_oci_layout_is_read_in_place() {
    let dir = tempfile::tempdir().unwrap();
    // What one store holds is nearly a layout: only the index is missing.
    let first = store(&dir.path().join("layout"));
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "digest": first.demo_digest, "size": 1,
        "annotations": {"org.opencontainers.image.ref.name": "localhost/copy:1"},
    }]});
    fs::write(dir.path().join("layout/index.json"), index.to_string()).unwrap();
    let second = store(&dir.path().join("images"));
    let loaded = second.load(&dir.path().join("layout")).unwrap();
    assert!(loaded[0].names.contains(&"localhost/copy:1".to_owned()));
    let reference = format!("oci:{}", dir.path().join("layout").display());
    assert!(second.ready(&reference, None).await.is_ok());
}

#[tokio::test]
async fn a_directory_is_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("images"));
    let reference = format!("dir:{}", dir.path().display());
    assert_eq!(store.ready(&reference, None).await.unwrap().lower_dirs, [dir.path()]);
    for bad in ["dir:/no/such/dir", "dir:relative"] {
        let error = store.ready(bad, None).await.unwrap_err();
        assert!(matches!(error, RuntimeError::NoSuchImage { .. }), "{error}");
    }
}

#[tokio::test]
async fn images_that_lie_or_fit_no_machine_like_this_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("images"));
    let archive = dir.path().join("a.tar");
    fs::write(&archive, saved("sparc", None)).unwrap();
    let error = store.load(&archive).unwrap_err();
    assert!(error.to_string().contains("is for linux/sparc, this node is"), "{error}");

    let lie = format!("sha256:{}", "0".repeat(64));
    fs::write(&archive, saved(&architecture(), Some(&lie))).unwrap();
    store.load(&archive).unwrap();
    let error = store.ready("busy:1", None).await.unwrap_err();
    assert!(matches!(error, RuntimeError::BrokenImage { .. }), "{error}");
    let layers = fs::read_dir(dir.path().join("images/layers")).unwrap().count();
    assert_eq!(layers, 1, "only the demo's layer is left");

    fs::write(&archive, b"no archive").unwrap();
    assert!(store.load(&archive).is_err());
}
