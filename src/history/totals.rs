//! The numbers of a check of continuity.

/// The numbers of a check so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckTotals {
    /// Resources whose entries were all read.
    pub resources: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Pairs of consecutive changes that were compared.
    pub compared: u64,
    /// Pairs that could not be compared.
    pub not_comparable: u64,
    /// Breaks, also those beyond the number that is listed.
    pub breaks: u64,
    /// Listed breaks of the class `Order`.
    pub order_breaks: u64,
    /// Resources whose check was given up, because they have too many fields.
    pub unchecked: u64,
}
