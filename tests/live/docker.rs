//! What Docker's own clients ask, asked of a real daemon.

mod ids;
mod replay;
mod shape;
