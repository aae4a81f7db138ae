//! The arena allocation cache: bump pointers of the last classes that got a new arena.
//!
//! Direct-mapped by class modulo the number of entries and tagged with core and class. It is
//! written through, so an entry that is replaced needs no write-back.

use super::memory::CoreId;
use super::params::AAC_ENTRIES_MAX;
use crate::geometry::SizeClass;

#[derive(Clone, Copy, Debug)]
struct Entry {
    core: CoreId,
    class: SizeClass,
    bump: u64,
}

/// Bump pointers by class and core.
#[derive(Clone, Debug)]
pub(super) struct Aac {
    entries: [Option<Entry>; AAC_ENTRIES_MAX],
    used: usize,
}

impl Aac {
    /// Empty, with `entries` entries: 1 to [`AAC_ENTRIES_MAX`].
    pub fn new(entries: u64) -> Self {
        Self {
            entries: [None; AAC_ENTRIES_MAX],
            used: (entries as usize).clamp(1, AAC_ENTRIES_MAX),
        }
    }

    /// The bump pointer of `class` of `core`, if it is cached.
    pub fn get(&self, core: CoreId, class: SizeClass) -> Option<u64> {
        self.entries[class.index() % self.used]
            .filter(|entry| entry.core == core && entry.class == class)
            .map(|entry| entry.bump)
    }

    /// Caches the bump pointer of `class` of `core`, replacing what was in its entry.
    pub fn put(&mut self, core: CoreId, class: SizeClass, bump: u64) {
        self.entries[class.index() % self.used] = Some(Entry { core, class, bump });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_thirty_two_apart_and_cores_displace_each_other() {
        let mut aac = Aac::new(32);
        let class = |index| SizeClass::new(index).unwrap();
        let (a, b) = (CoreId(0), CoreId(1));
        aac.put(a, class(1), 100);
        aac.put(a, class(2), 200);
        assert_eq!(aac.get(a, class(1)), Some(100));
        assert_eq!(aac.get(a, class(2)), Some(200));
        assert_eq!(aac.get(a, class(33)), None);
        assert_eq!(aac.get(b, class(1)), None);
        aac.put(a, class(33), 300);
        assert_eq!(aac.get(a, class(1)), None);
        assert_eq!(aac.get(a, class(33)), Some(300));
        aac.put(b, class(2), 400);
        assert_eq!(aac.get(a, class(2)), None);
    }
}
