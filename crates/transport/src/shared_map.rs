//! An ordered map that is cheap to copy: copies share all that they have in common.
//!
//! A published model is such a copy. A change makes some ten nodes anew, however many entries there are.

use std::borrow::Borrow;
use std::ops::Index;

use rpds::RedBlackTreeMapSync;

/// An ordered map; a clone costs one reference count.
#[derive(Clone)]
pub struct SharedMap<K: Ord, V>(RedBlackTreeMapSync<K, V>);

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Puts a value in place; what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let old = self.0.get(&key).cloned();
        self.0.insert_mut(key, value);
        old
    }

    /// Takes a value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.0.get(key).cloned();
        self.0.remove_mut(key);
        old
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        *self = SharedMap::default();
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Keys and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// Keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// Values, by ascending keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// No entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap(RedBlackTreeMapSync::new_sync())
    }
}

impl<K: Ord, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        &self.0[key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut map = SharedMap::default();
        for number in [3, 1, 2] {
            assert_eq!(map.insert(number, number * 10), None);
        }
        let copy = map.clone();
        assert_eq!((map.insert(2, 21), map.remove(&3), map.remove(&9)), (Some(20), Some(30), None));
        assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), [(1, 10), (2, 21)]);
        assert_eq!((copy.keys().copied().collect::<Vec<_>>(), copy[&2], copy.len()), (vec![1, 2, 3], 20, 3));
        map.clear();
        assert!(map.is_empty() && map.get(&1).is_none() && copy.get(&1) == Some(&10));
    }
}
