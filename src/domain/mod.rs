//! Plain data and pure functions: the types of entries, filters and times, and their validation. No async, no protobuf,
//! no database. Every value of these types is valid.

mod buckets;
mod catalogue;
mod clock;
mod counts;
mod date;
mod entry;
mod filter;
mod id;
mod json_writer;
mod names;
mod outcome;
mod position;
mod random;
mod resource;
mod search;
mod text;
mod time_range;

pub use auditlog_verify::types::{Change, Erased, Group, Invalid, JsonText, MAX_DEPTH, Seq, Timestamp, quoted};
pub use buckets::{Calendar, GroupBy, Grouping, MAX_BUCKETS, MAX_GROUPINGS, TimeBucket, TimeUnit, Top, Zone};
pub use catalogue::{Action, Catalogue, CatalogueKind, CatalogueName, Named, PathSegment, ResourceType};
pub use clock::Clock;
pub use counts::{COUNT_DISTANCE, CountKey, Counts, Damaged, EntryKind};
pub use date::{end_of_span, last_of_span, start_of_span};
pub use entry::{
    Content, Entry, MAX_CHANGES, MAX_ENTRY_BYTES, NewEntry, ServiceEntry, content_hashes, entry_leaf, entry_values,
    leaf_hash,
};
pub use filter::{CountedBy, Filter, KeyFilter, KindFilter, Limit, MAX_VALUES, Offset};
pub use id::EntryId;
pub use json_writer::{ObjectWriter, write_array, write_changes};
pub use names::{IndexedName, IndexedNames, NameField};
pub use outcome::{ActorType, Outcome};
pub use position::{Position, PositionRange, check_seq};
pub use random::{BASE62, Random};
pub use resource::ResourceKey;
pub use search::{
    ChangeSearch, FieldPattern, JsonMembers, JsonPattern, NamePattern, RequiredSubstring, Search, SearchColumn,
    TextPattern, json_digest, json_equal, json_or_string,
};
pub use text::{ApiKeyName, ErasureReason, Identifier, Metadata, Name, OrganizationId, Secret, did_you_mean, hex};
pub use time_range::{Minutes, TimeRange};
