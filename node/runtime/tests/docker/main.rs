//! The docker runtime against a real Docker Engine, with images of busybox and a registry on
//! loopback. Skipped, and said so, where no engine answers; `SKEP_REQUIRE=docker` makes that a
//! failure.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

#[path = "../../../../tests/harness/engine.rs"]
#[expect(unreachable_pub, reason = "it is shared with the live tests of the whole")]
mod engine;
mod engines;
mod files;
mod images;
mod machine;
mod specs;
mod tasks;
