//! Paths of fields. A path is above another that begins with it and a dot. Paths are compared byte by byte: real paths
//! have dots within keys, and empty segments.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

/// Whether `path` is above `other`.
pub(super) fn is_above(path: &str, other: &str) -> bool {
    rest_below(path, other).is_some()
}

/// Whether the paths are equal, or one is above the other.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    one == other || is_above(one, other) || is_above(other, one)
}

/// The part of `other` that follows `path` and the dot. `None` if `path` is not above `other`.
pub(super) fn rest_below<'o>(path: &str, other: &'o str) -> Option<&'o str> {
    other.strip_prefix(path)?.strip_prefix('.')
}

/// The paths above `path`, the shortest first.
pub(super) fn beginnings(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(move |(dot, _)| &path[..dot])
}

/// The longest path above `path`.
fn parent(path: &str) -> Option<&str> {
    path.rfind('.').map(|dot| &path[..dot])
}

/// The entries of `map` above `path`, the longest first.
///
/// The iterator does not look up each path above. A look-up finds the last entry up to one of these paths. All shorter
/// paths in the map are beginnings of that entry, too, so the iterator skips the paths that are not.
pub(super) fn above<'m, K: Borrow<str> + Ord, V>(
    map: &'m BTreeMap<K, V>,
    path: &str,
) -> impl Iterator<Item = (&'m K, &'m V)> {
    let mut next = parent(path);
    std::iter::from_fn(move || {
        loop {
            let longest = next?;
            let up_to = (Bound::<&str>::Unbounded, Bound::Included(longest));
            let (found, value) = map.range::<str, _>(up_to).next_back()?;
            let name = Borrow::<str>::borrow(found);
            if name == longest {
                next = parent(longest);
                return Some((found, value));
            }
            let common = name.bytes().zip(longest.bytes()).take_while(|(one, other)| one == other).count();
            let end = (common + 1).min(longest.len());
            let dot = longest.as_bytes()[..end].iter().rposition(|byte| *byte == b'.');
            next = dot.map(|dot| &longest[..dot]);
        }
    })
}

/// The entries of `map` below `path`, in their order: a path comes before the paths below it.
pub(super) fn below<'m, K: Borrow<str> + Ord, V>(map: &'m BTreeMap<K, V>, path: &str) -> btree_map::Range<'m, K, V> {
    // `/` is the character after the dot.
    let (start, end) = (format!("{path}."), format!("{path}/"));
    map.range::<str, _>((Bound::Included(start.as_str()), Bound::Excluded(end.as_str())))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn two_paths_overlap_if_they_are_equal_or_one_is_a_dot_prefix_of_the_other() {
        for (path, other) in [("a", "a.b"), ("a", "a..c"), ("", ".b"), ("a.", "a..b"), ("a", "a."), ("a.b", "a.b.c.d")]
        {
            assert!(is_above(path, other) && overlap(path, other) && overlap(other, path), "{path:?} {other:?}");
            assert!(!is_above(other, path), "{path:?} {other:?}");
        }
        for (one, other) in
            [("a", "ab"), ("a", "b"), ("", "a"), ("", "a.b"), ("a.b", "a.c"), ("a.", "a.b"), ("a/b", "a")]
        {
            assert!(!overlap(one, other) && !overlap(other, one), "{one:?} {other:?}");
        }
        assert!(overlap("", "") && overlap("a.b", "a.b") && !is_above("a", "a"));
    }

    #[test]
    fn the_rest_of_a_path_is_all_after_the_dot() {
        assert_eq!(rest_below("a", "a.b.c"), Some("b.c"));
        assert_eq!(rest_below("a", "a..c"), Some(".c"));
        assert_eq!((rest_below("", "."), rest_below("a", "a."), rest_below("a", "a")), (Some(""), Some(""), None));
        assert_eq!(beginnings("a..c").collect::<Vec<_>>(), ["a", "a."]);
        assert_eq!(beginnings(".").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn ranges_of_a_map_are_those_of_all_comparisons() {
        const PIECES: [&str; 7] = ["a", "b", ".", ".", "!", "/", "é"];
        let mut random = StdRng::seed_from_u64(7);
        let mut found = [0; 2];
        for _ in 0..5_000 {
            let mut path =
                || -> String { (0..random.random_range(0..6)).map(|_| PIECES[random.random_range(0..7)]).collect() };
            let map: BTreeMap<String, ()> = (0..12).map(|_| (path(), ())).collect();
            let path = path();
            let mut all_above: Vec<_> = map.keys().filter(|name| is_above(name, &path)).collect();
            all_above.reverse();
            let all_below: Vec<_> = map.keys().filter(|name| is_above(&path, name)).collect();
            assert_eq!(above(&map, &path).map(|(name, ())| name).collect::<Vec<_>>(), all_above, "{path} {map:?}");
            assert_eq!(below(&map, &path).map(|(name, ())| name).collect::<Vec<_>>(), all_below, "{path} {map:?}");
            found = [found[0] + all_above.len(), found[1] + all_below.len()];
        }
        assert!(found.into_iter().all(|number| number > 500), "{found:?}");
    }
}
