//! What large providers charge for functions, and how they round. US dollars without free allowances, the
//! first tier of the cheapest American regions.
//!
//! Prices change: each list has the month in which its figures were last seen, and where they are published. What
//! is older than the command's own release is marked, and the table says that it should be checked.

use serde::Serialize;

/// A provider's price list.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Who and what.
    pub title: &'static str,
    /// Month in which the figures were last seen.
    pub date: &'static str,
    /// Where it is published.
    pub source: &'static str,
    /// Dollars for a million requests.
    pub million_requests: f64,
    /// Durations are rounded up to this many milliseconds.
    pub round_ms: f64,
    /// Less is billed as this many milliseconds.
    pub minimum_ms: f64,
    /// Whether initialisation is billed.
    pub init_billed: bool,
    /// How memory is chosen and priced.
    pub plan: Plan,
}

/// How memory is chosen and priced.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// CPU and memory are chosen apart, and priced apart; one core.
    Apart {
        /// Smallest, largest and step, in MB.
        sizes: (u32, u32, u32),
        /// Dollars for memory.
        gb_second: f64,
        /// Dollars for a core.
        core_second: f64,
    },
    /// Any size in MB between two, one price for a GB-second; a core comes with so many MB.
    Linear {
        /// Smallest, largest and step, in MB.
        sizes: (u32, u32, u32),
        /// MB that one core comes with.
        mb_per_core: f64,
        /// Dollars.
        gb_second: f64,
    },
    /// Memory is not chosen: what was used is rounded up and billed; one core.
    Observed {
        /// Step and largest, in MB.
        sizes: (u32, u32),
        /// Dollars.
        gb_second: f64,
    },
    /// A list of sizes in MB, each with its cores; memory alone is priced.
    Instances {
        /// The list.
        sizes: &'static [(u32, f64)],
        /// Dollars.
        gb_second: f64,
    },
    /// A list of sizes in MB, each with its CPU in GHz.
    Tiers {
        /// The list.
        sizes: &'static [(u32, f64)],
        /// GHz of a core.
        ghz_per_core: f64,
        /// Dollars for memory.
        gb_second: f64,
        /// Dollars for CPU.
        ghz_second: f64,
    },
}

/// Lists that were last seen before this month are called old.
const CHECKED: &str = "2026-01";

const AWS: Preset = Preset {
    name: "aws",
    title: "AWS Lambda, x86",
    date: "2026-03",
    source: "aws.amazon.com/lambda/pricing",
    million_requests: 0.20,
    round_ms: 1.0,
    minimum_ms: 1.0,
    init_billed: true,
    plan: Plan::Linear { sizes: (128, 10_240, 1), mb_per_core: 1769.0, gb_second: 0.000_016_666_7 },
};

/// All of them; the first is the default.
pub const PRESETS: [Preset; 6] = [
    AWS,
    Preset {
        name: "aws-arm",
        title: "AWS Lambda, Arm",
        plan: Plan::Linear {
            sizes: (128, 10_240, 1),
            mb_per_core: 1769.0,
            gb_second: 0.000_013_333_4,
        },
        ..AWS
    },
    Preset {
        name: "azure",
        title: "Azure Functions, consumption plan",
        date: "2025-05",
        source: "azure.microsoft.com/pricing/details/functions",
        million_requests: 0.20,
        round_ms: 1.0,
        minimum_ms: 100.0,
        init_billed: false,
        plan: Plan::Observed { sizes: (128, 1536), gb_second: 0.000_016 },
    },
    Preset {
        name: "azure-flex",
        title: "Azure Functions, flex consumption plan, on demand",
        // The price of memory; that of requests and the minimum are of 2024-11.
        date: "2025-05",
        source: "azure.microsoft.com/pricing/details/functions",
        million_requests: 0.40,
        round_ms: 100.0,
        minimum_ms: 1000.0,
        init_billed: false,
        plan: Plan::Instances {
            sizes: &[(512, 0.25), (2048, 1.0), (4096, 2.0)],
            gb_second: 0.000_026,
        },
    },
    Preset {
        name: "gcp",
        title: "Google Cloud Run functions, billed by request",
        date: "2025-01",
        source: "cloud.google.com/run/pricing",
        million_requests: 0.40,
        round_ms: 100.0,
        minimum_ms: 100.0,
        init_billed: true,
        plan: Plan::Apart {
            sizes: (128, 4096, 128),
            gb_second: 0.000_002_5,
            core_second: 0.000_024,
        },
    },
    Preset {
        name: "gcp-1",
        title: "Google Cloud Run functions, 1st generation",
        date: "2024-09",
        source: "cloud.google.com/functions/pricing-1stgen",
        million_requests: 0.40,
        round_ms: 100.0,
        minimum_ms: 100.0,
        init_billed: false,
        plan: Plan::Tiers {
            sizes: &[
                (128, 0.2),
                (256, 0.4),
                (512, 0.8),
                (1024, 1.4),
                (2048, 2.4),
                (4096, 4.8),
                (8192, 4.8),
            ],
            ghz_per_core: 2.4,
            gb_second: 0.000_002_5,
            ghz_second: 0.000_010,
        },
    },
];

impl Preset {
    /// The one of a name.
    ///
    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = || PRESETS.map(|preset| preset.name).join(", ");
        let found = PRESETS.into_iter().find(|preset| preset.name == name);
        found.ok_or_else(|| format!("no provider is called {name}; there are {}", names()))
    }

    /// Whether the figures are older than those of the newest list, and so more likely to have changed.
    pub fn is_old(&self) -> bool {
        self.date < CHECKED
    }

    /// Milliseconds that are billed for a duration.
    pub fn billed_ms(&self, seconds: f64) -> f64 {
        // A duration that is whole but for rounding errors is not rounded up.
        let units = (seconds * 1e3 / self.round_ms - 1e-6).ceil();
        (units * self.round_ms).max(self.minimum_ms)
    }

    /// Dollars for a second of a configured size in MB.
    pub fn second(&self, mb: u32) -> f64 {
        let gb = f64::from(mb) / 1024.0;
        match self.plan {
            Plan::Linear { gb_second, .. }
            | Plan::Observed { gb_second, .. }
            | Plan::Instances { gb_second, .. } => gb * gb_second,
            Plan::Apart { gb_second, core_second, .. } => gb * gb_second + core_second,
            Plan::Tiers { sizes, gb_second, ghz_second, .. } => {
                let ghz = sizes.iter().find(|(size, _)| *size >= mb).map_or(0.0, |tier| tier.1);
                gb * gb_second + ghz * ghz_second
            }
        }
    }

    /// Dollars for one invocation: its share of the requests, and its duration at a size in MB.
    pub fn invocation(&self, seconds: f64, mb: u32) -> f64 {
        self.million_requests / 1e6 + self.billed_ms(seconds) / 1e3 * self.second(mb)
    }

    /// The cores that come with a size.
    pub fn cores(&self, mb: u32) -> f64 {
        match self.plan {
            Plan::Linear { mb_per_core, .. } => f64::from(mb) / mb_per_core,
            Plan::Observed { .. } | Plan::Apart { .. } => 1.0,
            Plan::Instances { sizes, .. } => {
                sizes.iter().find(|(size, _)| *size >= mb).map_or(0.0, |instance| instance.1)
            }
            Plan::Tiers { sizes, ghz_per_core, .. } => {
                let tier = sizes.iter().find(|(size, _)| *size >= mb);
                tier.map_or(0.0, |tier| tier.1 / ghz_per_core)
            }
        }
    }

    /// The smallest size that holds so many MB; none if there is no such size.
    pub fn size_for(&self, mb: f64) -> Option<u32> {
        self.sizes().into_iter().find(|size| f64::from(*size) >= mb)
    }

    /// Every size that can be configured.
    pub fn sizes(&self) -> Vec<u32> {
        match self.plan {
            Plan::Linear { sizes: (from, to, step), .. }
            | Plan::Apart { sizes: (from, to, step), .. } => {
                (from..=to).step_by(step as usize).collect()
            }
            Plan::Observed { sizes: (step, to), .. } => {
                (step..=to).step_by(step as usize).collect()
            }
            Plan::Tiers { sizes, .. } | Plan::Instances { sizes, .. } => {
                sizes.iter().map(|tier| tier.0).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-9, "{got}, by hand {want}");
    }

    #[test]
    fn aws_by_hand() {
        // 27.40 ms at 1024 MB: 28 ms of one GB, and a request.
        let aws = Preset::named("aws").unwrap();
        assert_eq!(aws.billed_ms(0.0274), 28.0);
        close(aws.invocation(0.0274, 1024), 0.028 * 0.000_016_666_7 + 0.000_000_2);
        // 100 ms at 128 MB, an eighth of a GB.
        close(aws.invocation(0.1, 128), 0.1 * 0.125 * 0.000_016_666_7 + 0.000_000_2);
        assert_eq!(aws.billed_ms(0.028), 28.0, "whole milliseconds are not rounded up");
        close(aws.cores(1769), 1.0);
        assert_eq!((aws.size_for(100.0), aws.size_for(128.5)), (Some(128), Some(129)));
        assert_eq!(aws.size_for(20_000.0), None);
    }

    #[test]
    fn azure_by_hand() {
        // 40 ms are billed as 100; 160 MB as 256: the example of its billing questions.
        let azure = Preset::named("azure").unwrap();
        assert_eq!((azure.billed_ms(0.04), azure.billed_ms(0.1234)), (100.0, 124.0));
        assert_eq!(azure.size_for(160.0), Some(256));
        close(azure.invocation(0.04, 256), 0.1 * 0.25 * 0.000_016 + 0.000_000_2);
    }

    #[test]
    fn gcp_by_hand() {
        // The published prices of 100 ms: 256 MB with 400 MHz, and 1024 MB with 1.4 GHz.
        let gcp = Preset::named("gcp-1").unwrap();
        close(gcp.second(256) * 0.1, 0.000_000_462_5);
        close(gcp.second(1024) * 0.1, 0.000_001_650);
        assert_eq!((gcp.billed_ms(0.101), gcp.size_for(300.0)), (200.0, Some(512)));
    }

    #[test]
    fn cores_and_memory_apart_by_hand() {
        // 123 ms of a core and half a GB are billed as 200 ms.
        let gcp = Preset::named("gcp").unwrap();
        close(gcp.invocation(0.123, 512), 4e-7 + 0.2 * (0.000_024 + 0.5 * 0.000_002_5));
        assert_eq!((gcp.cores(512), gcp.size_for(129.0)), (1.0, Some(256)));
    }

    #[test]
    fn instances_by_hand() {
        // 300 ms at 2048 MB: a second of two GB; 1234 ms are 1300.
        let azure = Preset::named("azure-flex").unwrap();
        close(azure.invocation(0.3, 2048), 4e-7 + 2.0 * 0.000_026);
        assert_eq!((azure.billed_ms(1.234), azure.size_for(600.0)), (1300.0, Some(2048)));
        assert_eq!((azure.cores(512), azure.size_for(5000.0)), (0.25, None));
    }

    #[test]
    fn every_list_has_its_month_and_its_source() {
        for preset in PRESETS {
            let month = preset.date.split_once('-').map(|(year, month)| (year.len(), month.len()));
            assert_eq!(month, Some((4, 2)), "{}", preset.name);
            assert!(preset.source.contains('/'), "{}", preset.name);
        }
        let old = |name| Preset::named(name).unwrap().is_old();
        assert_eq!(["aws", "gcp-1"].map(old), [false, true]);
    }

    #[test]
    fn names() {
        let error = Preset::named("ibm").unwrap_err();
        assert!(error.contains("there are aws, aws-arm, azure, azure-flex, gcp, gcp-1"), "{error}");
    }
}
