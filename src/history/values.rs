//! The values and names that a fold holds, within their limits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::json::JsonWalker;
use super::{MAX_NAME_BYTES, MAX_VALUE_BYTES, ShownValue, TooManyFields};
use crate::domain::{JsonText, json_digest, json_equal};

/// A value that a fold holds.
#[derive(Debug, Clone)]
pub(super) enum HeldValue {
    /// The value.
    Known(JsonText),
    /// The value was left out. Its [`json_digest`] still shows whether another value is equal.
    LeftOut([u8; 32]),
}

impl HeldValue {
    /// Whether the value is equal to `json`.
    pub fn is(&self, json: &JsonText) -> bool {
        match self {
            Self::Known(own) => json_equal(own, json),
            Self::LeftOut(digest) => *digest == json_digest(json),
        }
    }

    /// Whether the values are equal.
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (value, Self::Known(json)) | (Self::Known(json), value) => value.is(json),
            (Self::LeftOut(one), Self::LeftOut(other)) => one == other,
        }
    }

    fn leave_out(&mut self) {
        if let Self::Known(json) = self {
            *self = Self::LeftOut(json_digest(json));
        }
    }
}

impl From<HeldValue> for ShownValue {
    fn from(value: HeldValue) -> Self {
        match value {
            HeldValue::Known(json) => Self::Known(json),
            HeldValue::LeftOut(_) => Self::LeftOut,
        }
    }
}

/// The number of a held value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ValueId(u64);

/// A value with the name of its field.
#[derive(Debug)]
struct OwnedValue {
    name: Arc<str>,
    value: HeldValue,
    /// How many times it must be released.
    owners: usize,
}

/// The bytes that a field takes beside its name and its value, about.
const FIELD_BYTES: usize = 256;

/// The bytes that a field with this name takes, without its value.
pub(super) fn name_bytes(name: &str) -> usize {
    name.len() + FIELD_BYTES
}

/// The values that a fold holds, and the number of bytes of its names.
#[derive(Debug, Default)]
pub(super) struct HeldValues {
    values: HashMap<ValueId, OwnedValue>,
    /// The known values, by length and then by name.
    by_size: BTreeSet<(usize, Arc<str>, ValueId)>,
    /// The sum of the lengths of the known values.
    value_bytes: usize,
    /// The sum of the [`name_bytes`] of the held names.
    name_bytes: usize,
    next: u64,
}

impl HeldValues {
    /// Holds a value of the field `name`. The largest held values are left out until the others are within their limit;
    /// the new value may be one of them.
    pub fn hold(&mut self, name: &Arc<str>, value: HeldValue) -> ValueId {
        let id = ValueId(self.next);
        self.next += 1;
        if let HeldValue::Known(json) = &value {
            self.value_bytes += json.as_str().len();
            self.by_size.insert((json.as_str().len(), Arc::clone(name), id));
        }
        self.values.insert(id, OwnedValue { name: Arc::clone(name), value, owners: 1 });
        while self.value_bytes > MAX_VALUE_BYTES
            && let Some((size, _, largest)) = self.by_size.pop_last()
        {
            self.value_bytes -= size;
            if let Some(owned) = self.values.get_mut(&largest) {
                owned.value.leave_out();
            }
        }
        id
    }

    /// The value `id`. `None` if it was released.
    pub fn get(&self, id: ValueId) -> Option<&HeldValue> {
        self.values.get(&id).map(|owned| &owned.value)
    }

    /// Adds an owner to the value `id`, which must release it, too.
    pub fn share(&mut self, id: ValueId) {
        if let Some(owned) = self.values.get_mut(&id) {
            owned.owners += 1;
        }
    }

    /// Releases the value `id`, and returns it to its last owner.
    pub fn release(&mut self, id: ValueId) -> Option<HeldValue> {
        let owned = self.values.get_mut(&id)?;
        owned.owners -= 1;
        if owned.owners > 0 {
            return None;
        }
        let OwnedValue { name, value, owners: _ } = self.values.remove(&id)?;
        if let HeldValue::Known(json) = &value {
            let size = json.as_str().len();
            self.value_bytes -= size;
            self.by_size.remove(&(size, name, id));
        }
        Some(value)
    }

    /// Holds the name of a field. Errors: it does not fit.
    pub fn hold_name(&mut self, name: &str) -> Result<Arc<str>, TooManyFields> {
        self.hold_name_bytes(name_bytes(name))?;
        Ok(Arc::from(name))
    }

    /// Counts `bytes` as those of a name. Errors: they do not fit.
    pub fn hold_name_bytes(&mut self, bytes: usize) -> Result<(), TooManyFields> {
        let sum = self.name_bytes + bytes;
        if sum > MAX_NAME_BYTES {
            return Err(TooManyFields);
        }
        self.name_bytes = sum;
        Ok(())
    }

    /// Stops counting the bytes of a name.
    pub fn release_name_bytes(&mut self, bytes: usize) {
        self.name_bytes -= bytes;
    }
}

/// The bytes of JSON that a walker may read at first, and the most that it may save up.
const MAX_WALKED_BYTES: usize = 4 * 1024 * 1024;
/// The bytes of JSON that a walker may read for each byte of an entry. Small entries could make it read large values
/// again and again.
const WALKED_FOR_BYTE: usize = 8;
/// Smaller entries count as this many bytes.
const SMALL_ENTRY_BYTES: usize = 512;
/// The number of values that a walker keeps apart from their texts.
const KEPT_VALUES: usize = 4;

/// Walks into held values. It keeps what it knows of the last ones: the changes of an entry are often parts of one value.
///
/// `K` tells values apart.
#[derive(Debug)]
pub(super) struct ValueWalker<K = ValueId> {
    /// The last values, the newest at the end.
    recent: VecDeque<(K, JsonWalker)>,
    /// The bytes that it may still read. Without any, it finds nothing. A value may take more than are left: then it is
    /// negative.
    allowance: i64,
}

impl<K: PartialEq> Default for ValueWalker<K> {
    fn default() -> Self {
        Self::with_allowance(MAX_WALKED_BYTES)
    }
}

impl<K: PartialEq> ValueWalker<K> {
    /// A walker that reads at most so many bytes.
    pub fn with_allowance(allowance: usize) -> Self {
        Self { recent: VecDeque::new(), allowance: signed(allowance) }
    }

    /// Lets the walker read more, because the next entry has so many bytes.
    pub fn begin_entry(&mut self, bytes: usize) {
        let earned = WALKED_FOR_BYTE.saturating_mul(bytes.max(SMALL_ENTRY_BYTES));
        self.allowance = self.allowance.saturating_add(signed(earned)).min(signed(MAX_WALKED_BYTES));
    }

    /// Forgets all values. Their ids may be used for others.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// Takes the bytes of a value that others read. `None`: too few are left.
    pub fn take(&mut self, bytes: usize) -> Option<()> {
        self.allowance = self.allowance.saturating_sub(signed(bytes));
        (self.allowance > 0).then_some(())
    }

    /// See [`JsonWalker::walk`]. `json` is the value `id`. `None` also if too few bytes are left to read it.
    pub fn walk<'j>(&mut self, id: K, json: &'j JsonText, path: &str) -> Option<&'j str> {
        self.take(0)?;
        let mut walker = match self.recent.iter().position(|(other, _)| *other == id) {
            Some(index) => self.recent.remove(index).map(|(_, walker)| walker).unwrap_or_default(),
            None => JsonWalker::default(),
        };
        let before = walker.read;
        let found = walker.walk(json, path);
        let read = walker.read - before;
        if self.recent.len() == KEPT_VALUES {
            self.recent.pop_front();
        }
        self.recent.push_back((id, walker));
        self.take(read)?;
        found
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// A string whose JSON text has `size` bytes.
    fn sized(size: usize) -> HeldValue {
        HeldValue::Known(JsonText::stored(format!("\"{}\"", "x".repeat(size - 2))))
    }

    fn is_known(values: &HeldValues, id: ValueId) -> bool {
        matches!(values.get(id), Some(HeldValue::Known(_)))
    }

    #[test]
    fn the_largest_values_are_left_out_until_the_others_fit() {
        let mut values = HeldValues::default();
        let name = |name: &str| Arc::<str>::from(name);
        let small = values.hold(&name("z"), sized(10 * MIB));
        let first = values.hold(&name("a"), sized(11 * MIB));
        let last = values.hold(&name("b"), sized(11 * MIB));
        assert!([small, first, last].into_iter().all(|id| is_known(&values, id)));
        // One byte too many: of the two largest, the one with the later name is left out.
        let byte = values.hold(&name("c"), HeldValue::Known(JsonText::stored("1".to_owned())));
        assert_eq!([small, first, last, byte].map(|id| is_known(&values, id)), [true, true, false, true]);
        // The new value itself may be the largest.
        let huge = values.hold(&name("d"), sized(12 * MIB));
        assert_eq!([small, first, byte, huge].map(|id| is_known(&values, id)), [true, true, true, false]);
        // A released value makes room for the next ones.
        values.release(first);
        let next = values.hold(&name("e"), sized(12 * MIB));
        assert_eq!([small, byte, next].map(|id| is_known(&values, id)), [true, true, true]);
        assert!(values.get(first).is_none());
        assert_eq!(values.value_bytes, 22 * MIB + 1);
    }

    #[test]
    fn a_value_that_is_left_out_is_still_compared() {
        let known = |text: &str| HeldValue::Known(JsonText::stored(text.to_owned()));
        let mut left_out = known(r#"{"a":1,"b":2.0}"#);
        left_out.leave_out();
        let (equal, other) = (r#"{"b":2,"a":1}"#, r#"{"b":2,"a":2}"#);
        assert!(left_out.equals(&known(equal)) && known(equal).equals(&left_out) && left_out.equals(&left_out));
        assert!(!left_out.equals(&known(other)) && !known(other).equals(&left_out));
        let mut other = known(other);
        other.leave_out();
        assert!(!left_out.equals(&other));
    }

    #[test]
    fn a_shared_value_counts_once_and_is_held_until_its_last_owner_releases_it() {
        let mut values = HeldValues::default();
        let id = values.hold(&Arc::from("a"), sized(20));
        values.share(id);
        assert_eq!(values.value_bytes, 20);
        assert!(values.release(id).is_none() && is_known(&values, id));
        assert!(values.release(id).is_some() && values.get(id).is_none());
        assert_eq!((values.value_bytes, values.by_size.len(), values.release(id).is_none()), (0, 0, true));
    }

    #[test]
    fn a_walker_reads_no_more_than_its_entries_allow() {
        let large = |letter: char| JsonText::stored(format!(r#"{{"k":"{}"}}"#, letter.to_string().repeat(MIB)));
        let values = ["a", "b", "c", "d", "e"].map(|letter| large(letter.chars().next().expect("a letter")));
        let mut walker = ValueWalker::<usize>::default();
        let read = |walker: &mut ValueWalker<usize>, id: usize| walker.walk(id, &values[id], "k").is_some();
        // Values that it keeps take nothing.
        assert!((0..3).cycle().take(30).all(|id| read(&mut walker, id)));
        // Others take what is left. What it needs for them comes back with the bytes of entries.
        assert_eq!([read(&mut walker, 3), read(&mut walker, 0)], [false, false]);
        walker.begin_entry(1);
        assert_eq!([read(&mut walker, 0), read(&mut walker, 4), read(&mut walker, 0)], [true, false, false]);
        // A value that took more than was left delays the next ones.
        (0..200).for_each(|_| walker.begin_entry(1));
        assert!(!read(&mut walker, 0));
        (0..100).for_each(|_| walker.begin_entry(1));
        assert!(read(&mut walker, 0));
    }

    #[test]
    fn names_beyond_the_limit_are_an_error() {
        let mut values = HeldValues::default();
        assert!(values.hold_name(&"n".repeat(MAX_NAME_BYTES - 1 - 2 * FIELD_BYTES)).is_ok());
        assert_eq!(values.hold_name("no"), Err(TooManyFields));
        assert_eq!(values.hold_name("n").as_deref(), Ok("n"));
        assert_eq!(values.hold_name_bytes(1), Err(TooManyFields));
        values.release_name_bytes(1);
        assert_eq!(values.hold_name_bytes(1), Ok(()));
        assert_eq!(
            TooManyFields.to_string(),
            "the fields of this resource take more than 32 MiB, not counting their values"
        );
    }
}
