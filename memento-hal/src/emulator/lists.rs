//! The available and the full list of each class of one core.
//!
//! Lists are last-in, first-out: arenas come and go at the head. A free can make an arena in the
//! middle of the full list available, so arenas are linked both ways. The arena in the HOT is on
//! neither list, and outside the HOT an arena is on the full list exactly when its bitmap is full.

use super::arena::{ArenaAddr, Header};
use super::memory::Store;
use crate::geometry::{CLASSES, SizeClass};

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum List {
    Available,
    Full,
}

/// The heads of one core's lists.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    heads: [[u64; 2]; CLASSES],
}

impl Lists {
    pub const fn new() -> Self {
        Self { heads: [[0; 2]; CLASSES] }
    }

    /// The arena at the head.
    pub fn head(&self, list: List, class: SizeClass) -> Option<ArenaAddr> {
        ArenaAddr::from_link(self.heads[class.index()][list as usize])
    }

    fn set_head(&mut self, list: List, class: SizeClass, arena: Option<ArenaAddr>) {
        self.heads[class.index()][list as usize] = ArenaAddr::to_link(arena);
    }

    /// Inserts `arena`, which is on no list, at the head.
    pub fn push<S: Store>(&mut self, store: &S, list: List, class: SizeClass, arena: ArenaAddr) {
        let old = self.head(list, class);
        let header = Header::new(store, arena);
        header.set_previous(None);
        header.set_next(old);
        if let Some(old) = old {
            Header::new(store, old).set_previous(Some(arena));
        }
        self.set_head(list, class, Some(arena));
    }

    /// Removes the arena at the head.
    pub fn pop<S: Store>(&mut self, store: &S, list: List, class: SizeClass) -> Option<ArenaAddr> {
        let arena = self.head(list, class)?;
        self.remove(store, list, class, arena);
        Some(arena)
    }

    /// Removes `arena`, which is on this list.
    pub fn remove<S: Store>(&mut self, store: &S, list: List, class: SizeClass, arena: ArenaAddr) {
        let header = Header::new(store, arena);
        let (next, previous) = (header.next(), header.previous());
        match previous {
            Some(previous) => Header::new(store, previous).set_next(next),
            None => self.set_head(list, class, next),
        }
        if let Some(next) = next {
            Header::new(store, next).set_previous(previous);
        }
        header.set_next(None);
        header.set_previous(None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim_memory::SimMemory;
    use super::*;

    #[test]
    fn arenas_come_and_go_at_the_head_and_leave_from_the_middle() {
        let (store, class) = (SimMemory::new(), SizeClass::new(3).unwrap());
        let arenas: Vec<_> = (1..=4).map(|n| ArenaAddr::new(n * 0x1_0000)).collect();
        let mut lists = Lists::new();
        assert_eq!(lists.pop(&store, List::Full, class), None);
        for &arena in &arenas {
            lists.push(&store, List::Full, class, arena);
        }
        lists.remove(&store, List::Full, class, arenas[1]);
        lists.push(&store, List::Available, class, arenas[1]);
        lists.remove(&store, List::Full, class, arenas[3]);
        lists.remove(&store, List::Full, class, arenas[0]);
        assert_eq!(lists.pop(&store, List::Full, class), Some(arenas[2]));
        assert_eq!(lists.pop(&store, List::Full, class), None);
        assert_eq!(lists.pop(&store, List::Available, class), Some(arenas[1]));
        assert_eq!(lists.head(List::Available, SizeClass::new(4).unwrap()), None);
        for &arena in &arenas {
            let header = Header::new(&store, arena);
            assert_eq!((header.next(), header.previous()), (None, None));
        }
    }
}
