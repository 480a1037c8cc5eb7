//! The index of names: it finds the users and resources that a name may belong to. The entries decide whether it does.

use std::ops::Range;

use super::search::fold_case;
use super::{Content, CountKey, Erased, Group, NamePattern};

/// The maximum number of bytes of a name in the index. Of a longer name, the index has the beginning.
const MAX_BYTES: usize = 512;

/// A name in the index, and the user or resource of entries that have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexedName {
    /// The field of the entries.
    pub field: NameField,
    /// The beginning of the name, with its case folded.
    pub folded: String,
    /// The user or the resource.
    pub key: CountKey,
}

/// A field with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameField {
    /// The name of a user.
    UserName,
    /// The e-mail address of a user.
    UserEmail,
    /// The name of a resource.
    ResourceName,
}

/// The names in the index that a pattern may match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexedNames {
    /// The names that are equal to this.
    Equal(String),
    /// The names whose bytes lie in this range.
    In(Range<Vec<u8>>),
}

impl NameField {
    /// The stored code.
    pub fn code(self) -> i16 {
        match self {
            Self::UserName => 0,
            Self::UserEmail => 1,
            Self::ResourceName => 2,
        }
    }

    /// The group of values that the name belongs to.
    pub fn group(self) -> Group {
        match self {
            Self::UserName | Self::UserEmail => Group::Actor,
            Self::ResourceName => Group::Content,
        }
    }
}

impl IndexedName {
    /// The `name` of `key` in `field`.
    pub fn new(field: NameField, name: &str, key: CountKey) -> Self {
        Self { field, folded: beginning(fold_case(name)), key }
    }

    /// The names in the `groups` of an entry.
    pub fn of(content: &Content, groups: Erased) -> Vec<Self> {
        let user = || CountKey::User(content.user_id.clone());
        let resource = || CountKey::Resource(content.resource_type, content.resource_id.clone());
        let mut names = Vec::new();
        if groups.has(Group::Actor) {
            names.extend(content.user_name.iter().map(|name| Self::new(NameField::UserName, name.as_str(), user())));
            names.extend(content.user_email.iter().map(|name| Self::new(NameField::UserEmail, name.as_str(), user())));
        }
        if groups.has(Group::Content) {
            let name = content.resource_name.iter();
            names.extend(name.map(|name| Self::new(NameField::ResourceName, name.as_str(), resource())));
        }
        names
    }
}

impl IndexedNames {
    /// The names in the index that `pattern` may match.
    pub fn of(pattern: &NamePattern) -> Self {
        let (folded, is_prefix) = pattern.folded();
        match folded.as_bytes().split_last() {
            Some((last, rest)) if is_prefix && folded.len() <= MAX_BYTES => {
                // No byte of UTF-8 is 255.
                let end = [rest, &[last.saturating_add(1)]].concat();
                Self::In(folded.as_bytes().to_vec()..end)
            }
            _ => Self::Equal(beginning(folded.to_owned())),
        }
    }
}

fn beginning(mut folded: String) -> String {
    folded.truncate(folded.floor_char_boundary(MAX_BYTES));
    folded
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn may_match(pattern: &str, name: &str) -> bool {
        let name = IndexedName::new(NameField::UserName, name, CountKey::Organization).folded;
        match IndexedNames::of(&NamePattern::parse(pattern).expect(pattern)) {
            IndexedNames::Equal(folded) => name == folded,
            IndexedNames::In(range) => range.contains(&name.into_bytes()),
        }
    }

    #[test]
    fn the_index_finds_every_name_that_a_pattern_matches() {
        let mut random = StdRng::seed_from_u64(5);
        let letters = ['a', 'A', 'ß', 'S', 'é', '\u{10ffff}', '~', '\u{7f}'];
        let mut found = 0;
        for _ in 0..20_000 {
            let mut word = |length: usize| -> String {
                (0..length).map(|_| letters[random.random_range(0..letters.len())]).collect()
            };
            let mut name = word(3);
            if random.random_bool(0.2) {
                name = format!("{}{name}", "x".repeat(random.random_range(500..506)));
            }
            let mut pattern: String = name.chars().take(random.random_range(1..510)).collect();
            if random.random_bool(0.3) {
                pattern = pattern.to_uppercase();
            }
            if random.random_bool(0.6) {
                pattern.push('*');
            }
            let Ok(parsed) = NamePattern::parse(&pattern) else { continue };
            let matches = parsed.matches(&name);
            found += usize::from(matches);
            assert!(!matches || may_match(&pattern, &name), "{pattern} matches {name}");
        }
        assert!(found > 5_000, "{found} matches");
    }

    #[test]
    fn the_index_does_not_find_other_names() {
        for (pattern, name) in [("jane", "janet"), ("jane*", "jan"), ("jane*", "jbne"), ("b*", "a"), ("~*", "\u{7f}")] {
            assert!(!may_match(pattern, name), "{pattern} and {name}");
        }
    }
}
