//! The sections of the benchmark, one per file.

pub mod check;
pub mod counting;
pub mod earlier;
pub mod hard;
pub mod history;
pub mod isolation;
pub mod lists;
pub mod offsets;
pub mod overload;
pub mod process;
pub mod search;
pub mod throughput;
pub mod verify;
pub mod writes;
