//! HTTP: the protocols of one port, and the layers around them: metrics, deadlines, the log of refused access.

mod deadline;
pub(super) mod early_refusal;
pub(super) mod protocols;
pub(super) mod reflection;
mod request_metrics;
mod security;
