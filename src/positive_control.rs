//! Services that are broken on purpose, so that the torture harness must detect them.

/// Whether `AUDITLOG_POSITIVE_CONTROL` is `name`. Always false without the feature `positive-controls`.
pub(crate) fn is(name: &str) -> bool {
    cfg!(feature = "positive-controls")
        && std::env::var("AUDITLOG_POSITIVE_CONTROL").is_ok_and(|control| control == name)
}
