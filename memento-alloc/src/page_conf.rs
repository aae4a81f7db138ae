//! The keys of `MEMENTO_CONF` that decide what backs the soft backend's memory.
//!
//! | key | unit | range | default |
//! | --- | --- | --- | --- |
//! | `huge_waste` | percent of what is resident | 0–200, 0: no huge pages | 25 |
//! | `huge_after` | percent of 2 MiB that are in use before they become a huge page | 0–50 | 25 |
//! | `huge_from` | touched bytes from which on a heap gets huge pages anyway | 0–2^40 | 6 MiB |
//! | `footprint` | bytes that the first heap is known to touch | 0–2^40 | 0 |
//! | `learn` | directory to learn the footprint in, an absolute path | | none |
//! | `populate` | small pages populated at once | 1–64 | 1 |
//! | `kept` | bytes that the heaps of ended threads keep at most | 0–2^40 | 2^40 |

use crate::conf::{self, Outcome};
use crate::learned;
use memento_hal::ProcessHal;
use memento_hal::soft::{PagePolicy, Soft};

/// Sets one value by its key.
#[inline(never)]
pub fn set(policy: &mut PagePolicy, key: &str, value: &str) -> Outcome {
    const BYTES_MAX: u64 = 1 << 40;
    if key == "learn" {
        let Some(known) = learned::begin(value) else { return Outcome::BadValue };
        policy.footprint = known;
        return Outcome::Set;
    }
    let range = match key {
        "huge_waste" => 0..=200,
        "huge_after" => 0..=50,
        "huge_from" | "footprint" | "kept" => 0..=BYTES_MAX,
        "populate" => 1..=64,
        _ => return Outcome::UnknownKey,
    };
    let Some(number) = value.parse().ok().filter(|number| range.contains(number)) else {
        return Outcome::BadValue;
    };
    match key {
        "huge_waste" => policy.huge_waste = number as u8,
        "huge_after" => policy.huge_after = number as u8,
        "huge_from" => policy.huge_from = number as usize,
        "footprint" => policy.footprint = number as usize,
        "kept" => policy.kept = number as usize,
        _ => policy.populate = number as u8,
    }
    Outcome::Set
}

/// The values, by key.
pub fn values(policy: PagePolicy) -> [(&'static str, u64); 6] {
    [
        ("huge_waste", policy.huge_waste.into()),
        ("huge_after", policy.huge_after.into()),
        ("huge_from", policy.huge_from as u64),
        ("footprint", policy.footprint as u64),
        ("populate", policy.populate.into()),
        ("kept", policy.kept as u64),
    ]
}

/// Applies the environment to the soft backend. The other backends' shared objects have keys of
/// their own beside these, and apply both.
#[cold]
pub(crate) fn apply<H: ProcessHal>() {
    if !H::IS_SOFT {
        return;
    }
    let mut policy = PagePolicy::DEFAULT;
    let print = conf::apply_environment(|key, value| set(&mut policy, key, value));
    Soft::instance().set_page_policy(policy);
    if print {
        conf::print_effective(&mut values(policy).into_iter());
    }
}

/// Sets a policy of the program's, with what the environment says put over it.
#[cold]
pub(crate) fn apply_over(mut policy: PagePolicy) -> bool {
    let print = conf::apply_environment_again(|key, value| set(&mut policy, key, value));
    Soft::instance().set_page_policy(policy);
    print
}

/// Prints the policy in force.
pub(crate) fn print() {
    conf::print_effective(&mut values(Soft::instance().page_policy()).into_iter());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_sets_its_own_value_within_its_range() {
        let mut policy = PagePolicy::DEFAULT;
        let numbers = [
            (30, 201),
            (40, 51),
            (1 << 23, (1 << 40) + 2),
            (1 << 30, u64::MAX),
            (16, 0),
            (1 << 22, (1 << 40) + 1),
        ];
        for ((key, _), (good, bad)) in values(policy).into_iter().zip(numbers) {
            let text = |number: u64| std::format!("{number}");
            assert_eq!(set(&mut policy, key, &text(good)), Outcome::Set, "{key}");
            assert_eq!(set(&mut policy, key, &text(bad)), Outcome::BadValue, "{key}");
            assert!(values(policy).contains(&(key, good)));
        }
        assert_eq!(set(&mut policy, "huge", "1"), Outcome::UnknownKey);
        let got = values(policy).map(|(_, value)| value);
        assert_eq!(got, [30, 40, 1 << 23, 1 << 30, 16, 1 << 22]);
    }
}
