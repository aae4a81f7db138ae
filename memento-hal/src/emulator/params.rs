//! The emulator's one parameter block: every latency and size that the model leaves open.
//!
//! A parameter is a named `u64` with a default, a range, a line of documentation and its
//! provenance. The block is plain data; whoever reads TOML or prints a report walks
//! [`Params::FIELDS`] and uses [`Params::get`] and [`Params::set`], so that no second list of
//! names exists anywhere.

use crate::geometry::{CLASSES, LANE_SHIFT, PAGE_BYTES, STRIDES_PER_CHUNK, SizeClass};
use core::fmt;

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provenance {
    /// The paper is known to say it.
    Paper,
    /// This project defines it, because no public source gives it.
    Defined,
}

/// Everything about a parameter but its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name in configuration files and reports.
    pub name: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
    /// Where the default comes from.
    pub provenance: Provenance,
    /// The value if nobody sets another.
    pub default: u64,
    /// Smallest value allowed.
    pub min: u64,
    /// Largest value allowed.
    pub max: u64,
}

/// Why a parameter was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamError {
    /// No parameter has the name that was given.
    Unknown,
    /// The value is outside the parameter's range.
    Range {
        /// The parameter's name.
        name: &'static str,
        /// The value refused.
        value: u64,
        /// Smallest value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
    },
    /// Two parameters contradict each other.
    Conflict(&'static str),
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no emulator parameter has this name"),
            Self::Range { name, value, min, max } => {
                write!(f, "{name} = {value} is not in {min}..={max}")
            }
            Self::Conflict(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for ParamError {}

macro_rules! params {
    ($($doc:literal $provenance:ident $name:ident = $default:expr, $min:expr => $max:expr;)*) => {
        /// Every latency and size of the emulator that can be set. Latencies are in cycles.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Params {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Params {
            /// The model's defaults.
            pub const DEFAULT: Self = Self { $($name: $default),* };

            /// Every parameter, in the order in which reports list them.
            pub const FIELDS: &[Field] = &[$(Field {
                name: stringify!($name),
                doc: $doc.trim_ascii(),
                provenance: Provenance::$provenance,
                default: $default,
                min: $min,
                max: $max,
            }),*];

            /// The value of the parameter called `name`.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            /// Sets the parameter called `name`. Rules that relate two parameters are checked by
            /// [`Params::validate`], once all are set.
            ///
            /// # Errors
            /// [`ParamError::Unknown`], or [`ParamError::Range`]; nothing has changed then.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), ParamError> {
                match name {
                    $(stringify!($name) => {
                        check(stringify!($name), value, $min, $max)?;
                        self.$name = value;
                    })*
                    _ => return Err(ParamError::Unknown),
                }
                Ok(())
            }

            fn check_ranges(&self) -> Result<(), ParamError> {
                $(check(stringify!($name), self.$name, $min, $max)?;)*
                Ok(())
            }
        }
    };
}

/// Bound of every latency: sums of millions of them stay far below 2^64.
const LATENCY_MAX: u64 = 1_000_000;
/// Bound of every number of frames: 2^36 frames are 256 TiB.
const FRAMES_MAX: u64 = 1 << 36;
/// Entries that the AAC's array has room for.
pub(super) const AAC_ENTRIES_MAX: usize = 32;

params! {
    " Cycles of every `obj-alloc` and `obj-free`: one access to the HOT."
    Paper hot_cycles = 2, 0 => LATENCY_MAX;
    " Cycles of a look-up in the AAC."
    Paper aac_cycles = 1, 0 => LATENCY_MAX;
    " Cycles of one load or store of an arena header: an L2 hit. In process only."
    Defined header_cycles = 14, 0 => LATENCY_MAX;
    " Cycles of one load of a bump pointer: an LLC hit. In process only."
    Defined bump_pointer_cycles = 40, 0 => LATENCY_MAX;
    " Cycles of one load of a page-table entry: an LLC hit. In process only."
    Defined page_table_cycles = 40, 0 => LATENCY_MAX;
    " Cycles of filling one level of the Memento page table."
    Defined table_fill_cycles = 1, 0 => LATENCY_MAX;
    " Cycles that an instruction waits when it needs a page and the pool is dry."
    Defined dry_stall_cycles = 3000, 0 => LATENCY_MAX;
    " Latency of the LLC; with `dram_cycles` it gives what a bypassed line saves."
    Defined llc_cycles = 40, 0 => LATENCY_MAX;
    " Latency of main memory."
    Defined dram_cycles = 200, 0 => LATENCY_MAX;
    " Entries of the AAC, direct-mapped by class modulo this number."
    Paper aac_entries = 32, 1 => AAC_ENTRIES_MAX as u64;
    " Frames in the page pool at the start; this first fill is no refill."
    Defined pool_initial_frames = 1024, 0 => FRAMES_MAX;
    " The operating system refills the pool, off the critical path, as soon as fewer frames than this are left; 0: only when it is dry."
    Defined pool_low_watermark = 256, 0 => FRAMES_MAX;
    " Frames that one refill brings."
    Defined pool_refill_batch = 512, 1 => FRAMES_MAX;
    " log2 of the bytes of a lane."
    Defined lane_shift = LANE_SHIFT as u64, LANE_SHIFT_MIN as u64 => LANE_SHIFT as u64;
    " Arena strides in one chunk: what a core takes from a lane at a time."
    Defined strides_per_chunk = STRIDES_PER_CHUNK as u64, 1 => 4096;
    " Bytes of fresh arenas that are made usable at a time; an arena is never split. Changes no count."
    Defined commit_batch_bytes = 256 << 10, 0 => 1 << 30;
}

/// Smallest lane: one arena of the largest class fits.
pub(super) const LANE_SHIFT_MIN: u32 = {
    let stride = match SizeClass::new(CLASSES - 1) {
        Some(class) => class.arena_stride(),
        None => unreachable!(),
    };
    stride.next_power_of_two().trailing_zeros()
};

const fn check(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), ParamError> {
    if value < min || value > max {
        return Err(ParamError::Range { name, value, min, max });
    }
    Ok(())
}

impl Params {
    /// Every parameter with its value, in the order of [`Params::FIELDS`].
    ///
    /// ```
    /// use memento_hal::emulator::Params;
    /// let changed: Vec<_> = Params::DEFAULT
    ///     .iter()
    ///     .filter(|(field, value)| *value != field.default)
    ///     .collect();
    /// assert!(changed.is_empty());
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&'static Field, u64)> + '_ {
        Self::FIELDS.iter().map(|field| (field, self.get(field.name).unwrap_or(field.default)))
    }

    /// Whether the block makes sense as a whole.
    ///
    /// # Errors
    /// The first value out of its range, or the first two that contradict each other.
    pub fn validate(&self) -> Result<(), ParamError> {
        self.check_ranges()?;
        if self.dram_cycles < self.llc_cycles {
            return Err(ParamError::Conflict(
                "dram_cycles is less than llc_cycles: a bypassed line would cost time",
            ));
        }
        if self.pool_low_watermark > self.pool_refill_batch {
            return Err(ParamError::Conflict(
                "pool_low_watermark is more than pool_refill_batch: a refill would not reach it",
            ));
        }
        Ok(())
    }

    /// Cycles that one bypassed line saves.
    pub const fn bypass_cycles(&self) -> u64 {
        self.dram_cycles - self.llc_cycles
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(1 << LANE_SHIFT_MIN >= PAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_listed() {
        assert_eq!(Params::DEFAULT.validate(), Ok(()));
        for (field, value) in Params::DEFAULT.iter() {
            assert_eq!(value, field.default, "{}", field.name);
            assert!((field.min..=field.max).contains(&value), "{}", field.name);
            assert!(field.doc.ends_with('.') && !field.doc.starts_with(' '), "{}", field.name);
        }
        assert_eq!(Params::FIELDS.len(), size_of::<Params>() / 8);
    }

    #[test]
    fn every_parameter_can_be_set_by_name_within_its_range() {
        for field in Params::FIELDS {
            let mut params = Params::DEFAULT;
            params.set(field.name, field.min).unwrap();
            assert_eq!(params.get(field.name), Some(field.min));
            params.set(field.name, field.max).unwrap();
            assert_eq!(params.get(field.name), Some(field.max));
            let refused = params.set(field.name, field.max + 1);
            assert!(matches!(refused, Err(ParamError::Range { name, .. }) if name == field.name));
            assert_eq!(params.get(field.name), Some(field.max));
        }
        assert_eq!(Params::DEFAULT.get("no such"), None);
        assert_eq!(Params::default().set("no such", 1), Err(ParamError::Unknown));
    }

    #[test]
    fn contradictions_are_named() {
        let slow_llc = Params { llc_cycles: 201, ..Params::DEFAULT };
        assert!(slow_llc.validate().unwrap_err().to_string().contains("dram_cycles"));
        let starved = Params { pool_refill_batch: 1, ..Params::DEFAULT };
        assert!(starved.validate().unwrap_err().to_string().contains("pool_low_watermark"));
        let wild = Params { aac_entries: 33, ..Params::DEFAULT };
        assert_eq!(wild.validate().unwrap_err().to_string(), "aac_entries = 33 is not in 1..=32");
    }
}
