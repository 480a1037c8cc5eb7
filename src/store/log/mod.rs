//! The log of each organization: its tiles and its signed checkpoints.

pub(super) mod checkpoints;
pub(super) mod tiles;
