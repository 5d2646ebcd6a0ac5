//! The main job, start to end.

fn main() {}
