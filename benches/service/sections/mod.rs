//! What is measured, a section a file.

pub mod check;
pub mod lists;
