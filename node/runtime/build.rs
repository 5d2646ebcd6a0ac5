//! Compiles the program of the demo image, one static executable, to be embedded.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=demo/main.rs");
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(error) = compile_demo() {
        println!("cargo::error={error}");
    }
}

/// Static, so that its image needs no other file; small, because every binary carries it.
fn compile_demo() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let (host, target) = (variable("HOST")?, variable("TARGET")?);
    let out = Path::new(&variable("OUT_DIR")?).join("demo");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["demo/main.rs", "--crate-name=demo", "--edition=2024", "--crate-type=bin"]);
    rustc.args(["-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cpanic=abort"]);
    rustc.args(["-Clto=fat", "-Cstrip=symbols", "-Ccodegen-units=1"]);
    rustc.arg("-o").arg(&out);
    if host != target {
        rustc.args(["--target", &target]);
        if let Ok(linker) = env::var("RUSTC_LINKER") {
            rustc.arg(format!("-Clinker={linker}"));
        }
    }
    let output = rustc.output().map_err(|error| format!("cannot run rustc: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).take(6).collect();
    Err(format!(
        "the demo image's program (node/runtime/demo/main.rs) did not compile as a static \
         executable for {target}; is the static C library installed (Debian: libc6-dev)? {}",
        last.join(" | ")
    ))
}
