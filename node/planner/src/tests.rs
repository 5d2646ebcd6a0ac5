//! Tests of the planner: cases as texts, laws for every history, and the time it takes.

mod cases;
mod laws;
mod more_cases;
mod speed;
mod world;
