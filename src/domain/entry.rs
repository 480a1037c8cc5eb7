//! An entry before and after it is stored.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Action, Catalogue, Change, EntryId, Erased, Group, Identifier, Invalid, Metadata, Name, OrganizationId, Random,
    ResourceType, Seq, Timestamp,
};

/// The most changes of one entry.
pub const MAX_CHANGES: usize = 1_000;
/// The most bytes of one entry: its strings, metadata keys and minified JSON values.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// The content of an entry, as its writer sent it. The time is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The writer's, or a generated one.
    pub id: EntryId,
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// Which resource.
    pub resource_id: Identifier,
    /// The name of the resource at that time.
    pub resource_name: Option<Name>,
    /// The action.
    pub action: Action,
    /// The user who did it.
    pub user_id: Identifier,
    /// The name of the user at that time.
    pub user_name: Option<Name>,
    /// The user's e-mail address.
    pub user_email: Option<Name>,
    /// Which fields changed, in the writer's order.
    pub changes: Vec<Change>,
    /// Where the action came from.
    pub metadata: Metadata,
    /// The trace that it was part of.
    pub trace_id: Option<Identifier>,
}

/// The kinds of entries that the service writes itself, into the log that they concern. docs/LEAF_FORMAT.md defines
/// their shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEntry {
    /// Values were erased.
    Erasure,
    /// Checkpoints get a new key.
    Rotation,
}

impl ServiceEntry {
    /// The resource type of all of them.
    pub const RESOURCE_TYPE: &str = "organization";

    /// A new entry of this kind about `organization`, asked for with the key `by`, or by nobody.
    pub fn about(
        self,
        organization: &OrganizationId,
        by: Option<&str>,
        changes: Vec<Change>,
        catalogue: &Catalogue,
        random: &Random,
    ) -> Result<NewEntry, Invalid> {
        let uuid = uuid::Builder::from_random_bytes(random.bytes()).into_uuid();
        self.with_uuid(uuid, organization, by, changes, catalogue)
    }

    /// The same of a `uuid` that follows from what is recorded, so that it is recorded once whoever tries again.
    pub fn with_uuid(
        self,
        uuid: Uuid,
        organization: &OrganizationId,
        by: Option<&str>,
        changes: Vec<Change>,
        catalogue: &Catalogue,
    ) -> Result<NewEntry, Invalid> {
        let kind = match self {
            Self::Erasure => "erasure",
            Self::Rotation => "rotation",
        };
        let content = Content {
            id: EntryId::parse(format!("auditlog:{kind}:{uuid}"))?,
            resource_type: catalogue.resource_type(Self::RESOURCE_TYPE)?,
            resource_id: Identifier::parse(organization.as_str())?,
            resource_name: None,
            action: catalogue.action("updated")?,
            user_id: Identifier::parse(by.map_or_else(|| "system".to_owned(), |key| format!("key:{key}")))?,
            user_name: None,
            user_email: None,
            changes,
            metadata: Metadata::default(),
            trace_id: None,
        };
        Ok(NewEntry { timestamp: None, content: Arc::new(content) })
    }
}

/// An entry to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// When the thing happened; `None` for the time of the write.
    pub timestamp: Option<Timestamp>,
    /// All else.
    pub content: Arc<Content>,
}

/// An entry with its number, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in its organization.
    pub seq: Seq,
    /// When the thing happened. Lists are sorted by it.
    pub timestamp: Timestamp,
    /// When the service committed to it. Never decreases along `seq`.
    pub recorded_at: Timestamp,
    /// The API key that wrote it.
    pub writer_key_id: String,
    /// The groups that were erased since.
    pub erased: Erased,
    /// All else.
    pub content: Arc<Content>,
}

impl Content {
    /// The bytes that count against [`MAX_ENTRY_BYTES`].
    pub fn size(&self) -> usize {
        let Self {
            id,
            resource_type: _,
            resource_id,
            resource_name,
            action: _,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
        } = self;
        let name = |name: &Option<Name>| name.as_ref().map_or(0, |name| name.as_str().len());
        let change = |Change { field, old_value, new_value }: &Change| {
            field.len() + old_value.as_str().len() + new_value.as_str().len()
        };
        id.as_str().len()
            + resource_id.as_str().len()
            + name(resource_name)
            + user_id.as_str().len()
            + name(user_name)
            + name(user_email)
            + changes.iter().map(change).sum::<usize>()
            + metadata.size()
            + trace_id.as_ref().map_or(0, |id| id.as_str().len())
    }

    /// The content without the values of these groups.
    #[must_use]
    pub fn without(&self, erased: Erased) -> Self {
        let Self {
            id,
            resource_type,
            resource_id,
            mut resource_name,
            action,
            user_id,
            mut user_name,
            mut user_email,
            mut changes,
            mut metadata,
            trace_id,
        } = self.clone();
        if erased.has(Group::Actor) {
            (user_name, user_email, metadata) = (None, None, Metadata::default());
        }
        if erased.has(Group::Content) {
            (resource_name, changes) = (None, Vec::new());
        }
        Self {
            id,
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
        }
    }

    /// Refuses what is larger than [`MAX_ENTRY_BYTES`].
    pub fn check_size(&self) -> Result<(), Invalid> {
        match self.size() {
            size if size > MAX_ENTRY_BYTES => {
                Err(Invalid::new(format_args!("must be at most {MAX_ENTRY_BYTES} bytes"), size))
            }
            _ => Ok(()),
        }
    }
}

impl Entry {
    /// Whether `again` is a retry of the write that this entry came from. What the service fills in is not compared:
    /// a retry without a timestamp matches whatever the entry has. Nor is what was erased.
    pub fn is_replayed_by(&self, again: &NewEntry) -> bool {
        let Self { seq: _, timestamp, recorded_at: _, writer_key_id: _, erased, content } = self;
        let NewEntry { timestamp: asked, content: sent } = again;
        let is_same = match erased {
            Erased(0) => content == sent,
            erased => **content == sent.without(*erased),
        };
        asked.is_none_or(|asked| asked == *timestamp) && is_same
    }
}
