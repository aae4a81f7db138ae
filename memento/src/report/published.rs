//! What the MICRO'23 paper publishes and a report is compared with.

/// A published figure and the measured one beside it.
pub(super) struct Comparison {
    /// What it is.
    pub name: &'static str,
    /// As published.
    pub published: &'static str,
    /// Events of this kind in the report.
    pub part: u64,
    /// Out of so many.
    pub whole: u64,
}

/// Rates that a report has, in the paper's terms.
pub(super) fn rates(e: &super::Emulator) -> [Comparison; 5] {
    let rate = |name, published, part, whole| Comparison { name, published, part, whole };
    [
        rate("HOT hits, obj-alloc", "99.8 %", e.hot.alloc_hits, e.allocs()),
        rate("HOT hits, obj-free", "83 %", e.hot.free_hits, e.frees()),
        rate("list operations per alloc", "< 1 %", e.arenas.alloc_list_operations, e.allocs()),
        rate(
            "list operations per free",
            "< 0.6 %",
            e.arenas.free_list_operations,
            e.frees() + e.remote_frees,
        ),
        rate("AAC hits", "not published", e.aac.hits, e.aac.hits + e.aac.misses),
    ]
}

/// Shares of the *gain* by category. The paper splits what is saved against software; a report
/// splits what the hardware spends. They answer different questions and are shown side by side for
/// orientation only.
pub(super) const GAIN_SPLIT: [&str; 4] = ["33 %", "32 %", "33 %", "2 %"];
