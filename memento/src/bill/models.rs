//! The four ways of billing, as pure arithmetic.
//!
//! Over a run of length T with CPU use u(t) in cores and memory m(t) in GB:
//!
//! | | cost |
//! | --- | --- |
//! | SLIM | duration, rounded up × configured memory × its price; CPU comes with memory |
//! | SIM | T · (cpu-cap · C_r + mem-cap · M_r): CPU and memory are configured apart |
//! | SPFU | C_r · ∫u + M_r · ∫m: strictly what was used |
//! | NPFU | with R = cpu-cap − spot-cores: C_r·R·T + C_s·∫max(0, u−R) − C_s·λ·∫max(0, R−u), and memory: not preemptible M_r·mem-cap·T − μ·M_s·∫max(0, mem-cap−m), preemptible M_s·∫m |
//!
//! A run that was preempted is queued again and not charged. SLIM is priced by a preset
//! ([`super::presets`]).

use super::usage::Usage;
use serde::{Deserialize, Serialize};

/// Prices of CPU and memory, in dollars.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rates {
    /// C_r: a reserved core for a second.
    pub core_second: f64,
    /// M_r: a GB that is kept for the invocation, for a second.
    pub gb_second: f64,
    /// C_s ÷ C_r = M_s ÷ M_r: what is borrowed, lent or preemptible, against what is reserved.
    pub spot: f64,
    /// λ: the share of lent CPU that found a borrower.
    pub lambda: f64,
    /// μ: the share of unused memory that found one.
    pub mu: f64,
}

impl Default for Rates {
    /// \[D\]: CPU and memory at the separate prices that Google Cloud Run publishes, the only large provider
    /// that prices them apart; spot at 0.3 of that; everything that is idle finds a borrower.
    fn default() -> Self {
        Self { core_second: 0.000_024, gb_second: 0.000_002_5, spot: 0.3, lambda: 1.0, mu: 1.0 }
    }
}

/// What an invocation asks for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Knobs {
    /// The most CPU that it may use, in cores.
    pub cpu_cap: f64,
    /// The part of it that is not urgent, and may be lent.
    pub spot_cores: f64,
    /// The most memory that it may use, in GB.
    pub mem_cap: f64,
    /// Whether it may be killed for its memory, and queued again.
    pub preemptible_mem: bool,
}

/// What NPFU charges, with its parts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Npfu {
    /// Reserved CPU, in core-seconds.
    pub reserved: f64,
    /// CPU borrowed beyond it.
    pub borrowed: f64,
    /// CPU lent to others.
    pub lent: f64,
    /// Dollars for CPU.
    pub cpu: f64,
    /// Dollars for memory.
    pub memory: f64,
}

impl Npfu {
    /// Dollars for everything.
    pub fn total(&self) -> f64 {
        self.cpu + self.memory
    }
}

/// Nearly-Pay-for-Use.
pub fn npfu(usage: &Usage, knobs: &Knobs, rates: &Rates) -> Npfu {
    let reserved_cores = knobs.cpu_cap - knobs.spot_cores;
    let reserved = reserved_cores * usage.seconds();
    let borrowed = usage.sum(|step| (step.cores - reserved_cores).max(0.0));
    let lent = rates.lambda * usage.sum(|step| (reserved_cores - step.cores).max(0.0));
    let (core, gb) = (rates.core_second, rates.gb_second);
    let (spot_core, spot_gb) = (rates.spot * core, rates.spot * gb);
    let memory = if knobs.preemptible_mem {
        spot_gb * usage.gb_seconds()
    } else {
        let unused = usage.sum(|step| (knobs.mem_cap - step.gb).max(0.0));
        gb * knobs.mem_cap * usage.seconds() - rates.mu * spot_gb * unused
    };
    let cpu = reserved * core + borrowed * spot_core - lent * spot_core;
    Npfu { reserved, borrowed, lent, cpu, memory }
}

/// CPU and memory configured apart, paid for as long as it runs.
pub fn sim(usage: &Usage, knobs: &Knobs, rates: &Rates) -> f64 {
    let each_second = knobs.cpu_cap * rates.core_second + knobs.mem_cap * rates.gb_second;
    usage.seconds() * each_second
}

/// Strictly what was used.
pub fn spfu(usage: &Usage, rates: &Rates) -> f64 {
    usage.core_seconds() * rates.core_second + usage.gb_seconds() * rates.gb_second
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::usage::Step;

    /// Two seconds with half a core and a quarter GB, then one with two cores and one GB.
    fn usage() -> Usage {
        let step = |seconds, cores, gb| Step { seconds, cores, gb };
        Usage::new(vec![step(2.0, 0.5, 0.25), step(1.0, 2.0, 1.0)])
    }

    /// 10 dollars for whatever is reserved, 3 for spot.
    const RATES: Rates =
        Rates { core_second: 10.0, gb_second: 10.0, spot: 0.3, lambda: 1.0, mu: 1.0 };
    const KNOBS: Knobs =
        Knobs { cpu_cap: 1.5, spot_cores: 0.5, mem_cap: 1.0, preemptible_mem: false };

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got}, by hand {want}");
    }

    #[test]
    fn npfu_by_hand() {
        // R = 1. Reserved: 1 core for 3 s. Borrowed: 1 core for 1 s. Lent: half a core for 2 s.
        let bill = npfu(&usage(), &KNOBS, &RATES);
        close(bill.reserved, 3.0);
        close(bill.borrowed, 1.0);
        close(bill.lent, 1.0);
        // 3·10 + 1·3 − 1·3.
        close(bill.cpu, 30.0);
        // 10·1·3 − 3·(0.75·2 + 0·1).
        close(bill.memory, 25.5);
        close(bill.total(), 55.5);
    }

    #[test]
    fn preemptible_memory_is_paid_for_as_used() {
        let knobs = Knobs { preemptible_mem: true, ..KNOBS };
        // 3·(0.25·2 + 1·1).
        close(npfu(&usage(), &knobs, &RATES).memory, 4.5);
    }

    #[test]
    fn what_is_all_spot_reserves_nothing() {
        let knobs = Knobs { spot_cores: 1.5, ..KNOBS };
        let bill = npfu(&usage(), &knobs, &RATES);
        // R = 0: everything used is borrowed, 0.5·2 + 2·1, at 3.
        close(bill.borrowed, 3.0);
        close(bill.cpu, 9.0);
        close(bill.lent + bill.reserved, 0.0);
    }

    #[test]
    fn idle_capacity_that_nobody_wants_earns_nothing() {
        let rates = Rates { lambda: 0.25, mu: 0.5, ..RATES };
        let bill = npfu(&usage(), &KNOBS, &rates);
        // 30 + 3 − 0.25·3, and 30 − 0.5·4.5.
        close(bill.cpu, 32.25);
        close(bill.memory, 27.75);
    }

    #[test]
    fn memory_over_the_cap_earns_no_credit_and_costs_no_more() {
        let knobs = Knobs { mem_cap: 0.5, ..KNOBS };
        // 10·0.5·3 − 3·(0.25·2 + 0·1).
        close(npfu(&usage(), &knobs, &RATES).memory, 13.5);
    }

    #[test]
    fn sim_and_spfu_by_hand() {
        // 3·(1.5·10 + 1·10), and (0.5·2 + 2)·10 + (0.25·2 + 1)·10.
        close(sim(&usage(), &KNOBS, &RATES), 75.0);
        close(spfu(&usage(), &RATES), 45.0);
    }
}
