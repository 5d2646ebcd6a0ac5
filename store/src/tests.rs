//! Whole stores: clusters in memory, and a process that is killed.

mod cluster;
mod harness;
mod kill;
mod members;
mod wire;
