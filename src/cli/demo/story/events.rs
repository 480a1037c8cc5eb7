//! An event of the story, before it is an entry.

use std::borrow::Cow;

use super::accounts::StoryAccount;
use super::texts::SENTENCES;

/// A resource with its present name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoryResource {
    pub(super) resource_type: &'static str,
    pub(super) id: Cow<'static, str>,
    pub(super) name: Cow<'static, str>,
}

impl StoryResource {
    pub(super) const fn new(resource_type: &'static str, id: &'static str, name: &'static str) -> Self {
        Self { resource_type, id: Cow::Borrowed(id), name: Cow::Borrowed(name) }
    }
}

/// A change of a field. Its old value is the one that the field has then.
#[derive(Debug, Clone)]
pub(super) enum StoryEdit {
    /// Sets the field to a JSON text.
    Set(&'static str, Cow<'static, str>),
    /// Sets the field back to the value before its last change.
    Restore(&'static str),
    /// Adds to an integer.
    Add(&'static str, i64),
    /// Replaces a sentence of the field `instructions`, of which [`SENTENCES`] has the variants, by another variant.
    Reword { sentence: usize, variant: usize },
}

/// Sets `field` to `json`, a JSON text.
pub(super) fn set(field: &'static str, json: impl Into<Cow<'static, str>>) -> StoryEdit {
    StoryEdit::Set(field, json.into())
}

/// A field as it is, and as it was before its last change.
#[derive(Debug, Clone, Default)]
pub(super) struct StoryField {
    pub(super) present: Option<String>,
    pub(super) before: Option<String>,
}

impl StoryEdit {
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Set(field, _) | Self::Restore(field) | Self::Add(field, _) => field,
            Self::Reword { .. } => "instructions",
        }
    }

    /// The value after the edit. `None` means null.
    pub(super) fn applied_to(&self, field: &StoryField) -> Option<String> {
        let StoryField { present, before } = field;
        match self {
            Self::Set(_, json) => Some(json.clone().into_owned()),
            Self::Restore(_) => before.clone(),
            Self::Add(_, more) => {
                let number: i64 = present.as_ref().and_then(|json| json.parse().ok()).unwrap_or(0);
                Some((number + more).to_string())
            }
            Self::Reword { sentence, variant } => {
                let variants = SENTENCES[*sentence];
                let text = present.as_ref()?;
                let found = variants.iter().find(|known| text.contains(*known));
                Some(found.map_or_else(|| text.clone(), |found| text.replace(found, variants[*variant])))
            }
        }
    }
}

/// The way of an event into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoryRecording {
    AtOnce,
    /// The entry says that it happened so many microseconds before it was recorded.
    Late(i64),
    /// Somebody changed the resource outside of the log.
    Never,
}

/// Something that happens. Each event finds the values that the events before it have left.
#[derive(Debug, Clone)]
pub(super) struct StoryEvent {
    /// Microseconds since 1970.
    pub(super) at: i64,
    pub(super) by: &'static StoryAccount,
    pub(super) action: &'static str,
    pub(super) resource: StoryResource,
    pub(super) edits: Vec<StoryEdit>,
    /// Empty for a writer that does not tell.
    pub(super) outcome: &'static str,
    /// Empty if there is none.
    pub(super) trace: String,
    /// Metadata beside that of the account.
    pub(super) notes: Vec<(&'static str, Cow<'static, str>)>,
    pub(super) recording: StoryRecording,
}

impl StoryEvent {
    /// An event that succeeds, without changes.
    pub(super) fn new(at: i64, by: &'static StoryAccount, action: &'static str, resource: &StoryResource) -> Self {
        Self {
            at,
            by,
            action,
            resource: resource.clone(),
            edits: Vec::new(),
            outcome: "success",
            trace: String::new(),
            notes: Vec::new(),
            recording: StoryRecording::AtOnce,
        }
    }

    /// An update by these edits.
    pub(super) fn update(at: i64, by: &'static StoryAccount, resource: &StoryResource, edits: Vec<StoryEdit>) -> Self {
        Self { edits, ..Self::new(at, by, "updated", resource) }
    }

    /// Whether the action was done, so that its changes count.
    pub(super) fn is_done(&self) -> bool {
        !matches!(self.outcome, "failure" | "denied")
    }
}
