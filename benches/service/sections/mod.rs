//! What is measured, a section a file.

pub mod check;
pub mod earlier;
pub mod folding;
pub mod hard;
pub mod lists;
pub mod offsets;
pub mod overload;
pub mod process;
pub mod throughput;
pub mod verify;
pub mod writes;
