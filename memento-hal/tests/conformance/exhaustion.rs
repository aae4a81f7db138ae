//! The end of memory.

use super::backend::{Attached, Object, assert_disjoint, rounds};
use memento_hal::Hal;
use memento_hal::geometry::SizeClass;

/// For every number of commits that succeed: no core, or objects until there are no more, and those
/// that there are can be used, freed and had again.
pub fn nothing_and_no_harm<H: Hal>(starved: impl Fn(usize) -> H) {
    let classes = [63, 3, 40].map(|class| SizeClass::new(class).unwrap());
    let mut cores = 0;
    for commits in 0..rounds(40) {
        let hal = starved(commits);
        let Some(core) = hal.attach() else { continue };
        // SAFETY: just attached and not used; attached anew below.
        unsafe { hal.detach(core) };
        cores += 1;
        let mut core = Attached::new(&hal);
        let mut live: Vec<Object> = Vec::new();
        for class in classes {
            // More than the commits can give under any backend would be too many for a test.
            for _ in 0..rounds(3000) {
                let Some(object) = core.alloc(class) else { break };
                object.fill(commits as u8);
                live.push(object);
            }
        }
        assert_disjoint(&live);
        if let Some(object) = live.pop() {
            object.check(commits as u8);
            core.free(object).unwrap();
            let again = core.alloc(object.class).expect("the place of an object just freed");
            again.fill(commits as u8);
            live.push(again);
        }
        for object in live {
            object.check(commits as u8);
            core.free(object).unwrap();
        }
    }
    assert!(cores > 0 || cfg!(miri));
}

pub fn no_core<H: Hal>(hal: &H) {
    assert!(hal.attach().is_none());
    let on_stack = 0u64;
    let object = std::ptr::NonNull::from(&on_stack).cast();
    assert!(!hal.contains(object.as_ptr()));
    // SAFETY: refused: nothing was ever allocated.
    assert!(unsafe { hal.free_detached(object) }.is_err());
    assert!(hal.attach().is_none());
}
