//! The size of the pieces in which capabilities read many entries: about as many bytes each, and no more entries than a
//! page.

/// The minimum number of entries of a piece, which is also that of the first.
const MIN_ENTRIES: usize = 4;
/// The maximum number of entries of a piece.
const MAX_ENTRIES: usize = 100;
/// The approximate size of a piece.
const BYTES: usize = 1024 * 1024;

/// The number of entries of the next piece.
#[derive(Debug, Clone, Copy)]
pub struct PieceSize(usize);

impl PieceSize {
    /// The size of the first piece.
    pub const FIRST: Self = Self(MIN_ENTRIES);

    /// The number of entries.
    pub fn entries(self) -> usize {
        self.0
    }

    /// The size of the piece after one of so many entries and bytes.
    pub fn after(entries: usize, bytes: usize) -> Self {
        Self((BYTES * entries / bytes.max(1)).clamp(MIN_ENTRIES, MAX_ENTRIES))
    }
}
