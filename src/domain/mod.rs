//! Plain data and pure functions: what an entry, a filter and a time are, and which of them are
//! valid. No async, no protobuf, no database. A value that exists is valid.

mod catalogue;
mod clock;
mod counts;
mod entry;
mod filter;
mod group;
mod id;
mod json;
mod position;
mod random;
mod text;
mod timestamp;

pub use catalogue::{Action, Catalogue, CatalogueName, Named, PathSegment, ResourceType};
pub use clock::Clock;
pub use counts::{ACTIONS, Counts, Damaged, Key, Leaf};
pub use entry::{Change, Content, Entry, MAX_CHANGES, MAX_ENTRY_BYTES, NewEntry, Seq, ServiceEntry};
pub use filter::{Filter, Limit, MAX_VALUES, Offset, TimeRange};
pub use group::{Erased, Group};
pub use id::EntryId;
pub use json::{JsonText, MAX_DEPTH};
pub use position::{Position, Span};
pub use random::{BASE62, Random};
pub use text::{Identifier, Invalid, Metadata, Name, OrganizationId, Reason, Secret, did_you_mean, hex, quoted};
pub use timestamp::{Timestamp, end_of_span, start_of_span};
