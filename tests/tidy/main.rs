//! Rules of the repository, kept by machine: what cannot be a lint is a test here.
//!
//! ```text
//!   layout   what the top of the tree shows
//!   arrows   who may know whom, and which crate is the only one to name a dependency
//!   pages    what every source file looks like
//!   words    the names of log fields
//! ```
//!
//! A rule that fails says what to do. A rule that is wrong is changed here, where it is seen.
#![expect(clippy::unwrap_used, reason = "the whole crate is a test, helpers included")]

mod arrows;
mod layout;
mod pages;
mod repository;
mod words;
