//! An entry before and after it is stored.

use std::sync::Arc;

use auditlog_verify::merkle::{GroupHash, Hash, Leaf, Salts, Values, group_hashes};
use uuid::Uuid;

use super::{
    Action, ActorType, Catalogue, Change, EntryId, EntryKind, Erased, Group, Identifier, Invalid, JsonText, Metadata,
    Name, OrganizationId, Outcome, Random, ResourceType, Seq, Timestamp,
};

/// The maximum number of changes that one entry may have.
pub const MAX_CHANGES: usize = 1_000;
/// The maximum number of bytes that one entry may have: its strings, metadata keys and minified JSON values.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// The content of an entry, as its writer sent it, except its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The id that the writer chose, or a generated one.
    pub id: EntryId,
    /// The type of the resource.
    pub resource_type: ResourceType,
    /// The id of the resource.
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
    /// The changed fields, in the writer's order.
    pub changes: Vec<Change>,
    /// The origin of the action.
    pub metadata: Metadata,
    /// The trace that the action was part of.
    pub trace_id: Option<Identifier>,
    /// The outcome of the action.
    pub outcome: Option<Outcome>,
    /// The type of actor that `user_id` names.
    pub actor_type: Option<ActorType>,
}

/// The kinds of entries that the service itself writes into an organization's log. docs/LEAF_FORMAT.md defines their
/// shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEntry {
    /// Values were erased.
    Erasure,
    /// The signer gets a new key for its checkpoints.
    Rotation,
    /// An API key was created.
    KeyCreated,
    /// An API key was revoked.
    KeyRevoked,
    /// The catalogue got a resource type or an action, or a resource type got the path of its histories.
    CatalogueAdded,
    /// The catalogue lost a resource type or an action.
    CatalogueRemoved,
    /// An operator gave up the signed state of a log.
    RollbackAcknowledged,
}

impl ServiceEntry {
    /// The resource type of all service entries.
    pub const RESOURCE_TYPE: &str = "organization";
    /// The action of all service entries.
    pub const ACTION: &str = "updated";

    /// A change that records `value` as the new value of `field`. Service entries have no old values.
    pub fn fact(field: &str, value: impl Into<serde_json::Value>) -> Change {
        let new_value = JsonText::stored(value.into().to_string());
        Change { field: field.to_owned(), old_value: JsonText::null(), new_value }
    }

    /// A new entry of this kind about `organization`. `by` is the API key that requested it; `None` for the service
    /// itself.
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

    /// Like [`Self::about`], with a `uuid` derived from the recorded fact, so that a retry by any process records it
    /// only once.
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
            Self::KeyCreated => "key-created",
            Self::KeyRevoked => "key-revoked",
            Self::CatalogueAdded => "catalogue-added",
            Self::CatalogueRemoved => "catalogue-removed",
            Self::RollbackAcknowledged => "rollback-acknowledged",
        };
        let content = Content {
            id: EntryId::parse(format!("auditlog:{kind}:{uuid}"))?,
            resource_type: catalogue.resource_type(Self::RESOURCE_TYPE)?,
            resource_id: Identifier::parse(organization.as_str())?,
            resource_name: None,
            action: catalogue.action(Self::ACTION)?,
            user_id: Identifier::parse(by.map_or_else(|| "system".to_owned(), |key| format!("key:{key}")))?,
            user_name: None,
            user_email: None,
            changes,
            metadata: Metadata::default(),
            trace_id: None,
            outcome: None,
            actor_type: None,
        };
        Ok(NewEntry { timestamp: None, content: Arc::new(content) })
    }
}

/// An entry to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// When the action happened; `None` for the time of the write.
    pub timestamp: Option<Timestamp>,
    /// The rest of the entry.
    pub content: Arc<Content>,
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the entry in its organization.
    pub seq: Seq,
    /// When the action happened. Lists are sorted by it.
    pub timestamp: Timestamp,
    /// When the service accepted the entry. Never decreases along `seq`.
    pub recorded_at: Timestamp,
    /// The API key that wrote it.
    pub writer_key_id: String,
    /// The groups of values that were erased since.
    pub erased: Erased,
    /// The rest of the entry.
    pub content: Arc<Content>,
}

impl Content {
    /// The kind of the entry, by which it is counted.
    pub fn kind(&self) -> EntryKind {
        EntryKind { resource_type: self.resource_type, action: self.action, outcome: self.outcome }
    }

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
            outcome: _,
            actor_type: _,
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

    /// The content without the values of the erased groups.
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
            outcome,
            actor_type,
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
            outcome,
            actor_type,
        }
    }

    /// The groups with values about a user: `actor` if the user did the action, and `content` if the user is the
    /// resource. `users` is the resource type of users.
    pub fn groups_about(&self, user: &Identifier, users: ResourceType) -> Erased {
        let Self {
            id: _,
            resource_type,
            resource_id,
            resource_name: _,
            action: _,
            user_id,
            user_name: _,
            user_email: _,
            changes: _,
            metadata: _,
            trace_id: _,
            outcome: _,
            actor_type: _,
        } = self;
        let is_resource = *resource_type == users && resource_id == user;
        let about = [(Group::Actor, user_id == user), (Group::Content, is_resource)];
        about.into_iter().filter_map(|(group, is_about)| is_about.then_some(group)).collect()
    }

    /// Errors: the content is larger than [`MAX_ENTRY_BYTES`].
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
    /// Whether `again` is a retry of the write that created this entry. Values that the service filled in are not
    /// compared: a retry without a timestamp matches any timestamp. Erased values are not compared either.
    pub fn is_replayed_by(&self, again: &NewEntry) -> bool {
        let Self { seq: _, timestamp, recorded_at: _, writer_key_id: _, erased, content } = self;
        let NewEntry { timestamp: requested, content: sent } = again;
        let is_same = match erased {
            Erased(0) => content == sent,
            erased => **content == sent.without(*erased),
        };
        requested.is_none_or(|requested| requested == *timestamp) && is_same
    }
}

/// The values of all three groups of `entry`, in leaf order. `resource_type` and `action` are its public names.
pub fn entry_values<'a>(entry: &'a Entry, resource_type: &'a str, action: &'a str) -> [Values<'a>; 3] {
    let Entry { seq: _, timestamp, recorded_at: _, writer_key_id: _, erased: _, content } = entry;
    content_values(content, *timestamp, resource_type, action)
}

fn content_values<'a>(
    content: &'a Content,
    timestamp: Timestamp,
    resource_type: &'a str,
    action: &'a str,
) -> [Values<'a>; 3] {
    let Content {
        id: _,
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
        outcome,
        actor_type,
    } = content;
    let name = |name: &'a Option<Name>| name.as_ref().map(Name::as_str);
    [
        Values::Facts {
            timestamp,
            resource_type,
            resource_id: resource_id.as_str(),
            action,
            user_id: user_id.as_str(),
            trace_id: trace_id.as_ref().map(|id| id.as_str()),
            outcome: outcome.map(Outcome::name),
            actor_type: actor_type.map(ActorType::name),
        },
        Values::Actor { user_name: name(user_name), user_email: name(user_email), metadata: metadata.pairs() },
        Values::Content { resource_name: name(resource_name), changes },
    ]
}

/// The leaf of `entry` in the log `log_id`; `groups` are its group hashes.
pub fn entry_leaf<'a>(entry: &'a Entry, log_id: &'a str, groups: [GroupHash; 3]) -> Leaf<'a> {
    let Entry { seq, timestamp: _, recorded_at, writer_key_id, erased: _, content } = entry;
    Leaf { log_id, seq: *seq, id: content.id.as_str(), recorded_at: *recorded_at, writer: writer_key_id, groups }
}

/// The hashes of the groups of an entry with this timestamp; `None` if `catalogue` does not name its type or action.
pub fn content_hashes(
    content: &Content,
    timestamp: Timestamp,
    catalogue: &Catalogue,
    salts: &Salts,
) -> Option<[GroupHash; 3]> {
    let resource_type = catalogue.resource_type_name(content.resource_type)?;
    let action = catalogue.action_name(content.action)?;
    Some(group_hashes(&content_values(content, timestamp, resource_type, action), salts))
}

/// The hash of the leaf of `entry` in the log `log_id`; `None` if `catalogue` does not name its type or action.
pub fn leaf_hash(entry: &Entry, log_id: &str, catalogue: &Catalogue, salts: &Salts) -> Option<Hash> {
    let groups = content_hashes(&entry.content, entry.timestamp, catalogue, salts)?;
    Some(Hash::of_leaf(&entry_leaf(entry, log_id, groups).data()))
}
