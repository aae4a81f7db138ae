//! The shared objects as files: what every process that preloads them pays for.

use memento_tests::Shim;
use std::collections::BTreeSet;
use std::process::Command;

/// What `readelf` prints about a shared object.
fn readelf(shim: Shim, options: &str) -> String {
    let output = Command::new("readelf").arg(options).arg(shim.path()).output();
    let output = output.expect("readelf is installed with the compiler");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("readelf writes text")
}

/// Most bytes and relocations that a shared object may have.
const MOST_BYTES: u64 = 150_000;
const MOST_RELOCATIONS: usize = 100;

#[test]
fn small_and_quick_to_relocate() {
    for &shim in Shim::FILES {
        let bytes = std::fs::metadata(shim.path()).expect("the file is there").len();
        let relocations = readelf(shim, "-rW").lines().filter(|l| l.contains("R_X86_64_")).count();
        println!("{}: {bytes} bytes, {relocations} relocations", shim.file_name());
        assert!(bytes <= MOST_BYTES, "{shim:?}: {bytes} bytes");
        assert!(
            (1..MOST_RELOCATIONS).contains(&relocations),
            "{shim:?}: {relocations} relocations"
        );
    }
}

#[test]
fn nothing_is_needed_but_libc() {
    for &shim in Shim::FILES {
        let dynamic = readelf(shim, "-dW");
        let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
        assert_eq!(needed.len(), 1, "{shim:?}: {needed:?}");
        assert!(needed[0].ends_with("[libc.so.6]"), "{shim:?}: {needed:?}");
        assert!(dynamic.contains(&format!("[{}]", shim.file_name())), "{shim:?}: no soname");
        // Text relocations would unshare the code.
        for tag in ["(TEXTREL)", "(FINI)", "(RPATH)", "(RUNPATH)"] {
            assert!(!dynamic.contains(tag), "{shim:?} has {tag}");
        }
    }
}

/// Every segment is a mapping, which the loader makes and every process pays for.
#[test]
fn code_and_what_is_only_read_are_one_segment() {
    for &shim in Shim::FILES {
        let segments = readelf(shim, "-lW");
        let loaded: Vec<_> =
            segments.lines().filter(|line| line.trim_start().starts_with("LOAD")).collect();
        let written = loaded.iter().filter(|line| line.contains(" RW ")).count();
        assert_eq!(loaded.len() - written, 1, "{shim:?}: {loaded:?}");
    }
}

#[test]
fn stripped() {
    for &shim in Shim::FILES {
        let sections = readelf(shim, "-SW");
        for section in [".symtab", ".debug_info"] {
            assert!(!sections.contains(&format!(" {section} ")), "{shim:?} has {section}");
        }
    }
}

/// Functions run in containers of many ages: the oldest glibc that serves is that of the newest
/// symbol imported. 2.17 is what the oldest images that functions still run in have.
#[test]
fn no_symbol_newer_than_glibc_2_17_is_imported() {
    for &shim in Shim::FILES {
        let symbols = readelf(shim, "-sW");
        let versions: Vec<_> = symbols
            .lines()
            .filter(|line| line.contains(" UND "))
            .filter_map(|line| line.split("@GLIBC_").nth(1))
            .map(|version| {
                let numbers = version.split([' ', '.']).map_while(|n| n.parse::<u32>().ok());
                (numbers.collect::<Vec<_>>(), version)
            })
            .collect();
        assert!(versions.len() > 10, "{shim:?}: libc is used");
        for (numbers, version) in versions {
            assert!(numbers.len() >= 2 && numbers < vec![2, 18], "{shim:?} needs GLIBC_{version}");
        }
    }
}

/// What is exported is what the programs may see: no more, so that nothing of theirs is
/// interposed by accident, and no less.
#[test]
fn exactly_the_public_symbols_are_exported() {
    let family = "aligned_alloc calloc cfree free free_aligned_sized free_sized mallinfo mallinfo2 \
                  malloc malloc_info malloc_stats malloc_trim malloc_usable_size mallopt memalign \
                  memento_invocation_end memento_stats_json posix_memalign pvalloc realloc \
                  reallocarray valloc";
    let operators = "_Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t \
                     _ZnamSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t \
                     _ZnamSt11align_val_tRKSt9nothrow_t _ZdlPv _ZdaPv _ZdlPvRKSt9nothrow_t \
                     _ZdaPvRKSt9nothrow_t _ZdlPvm _ZdaPvm _ZdlPvSt11align_val_t \
                     _ZdaPvSt11align_val_t _ZdlPvSt11align_val_tRKSt9nothrow_t \
                     _ZdaPvSt11align_val_tRKSt9nothrow_t _ZdlPvmSt11align_val_t \
                     _ZdaPvmSt11align_val_t";
    let public: BTreeSet<_> =
        family.split_whitespace().chain(operators.split_whitespace()).collect();
    // The instructions' SIGILL must stay theirs.
    let signals = ["pthread_sigmask", "sigaction", "signal", "sigprocmask"];
    // V8's pages are recognised among all mappings.
    let node = ["madvise", "mmap", "mmap64", "mprotect", "munmap", "memento_node_stats_json"];
    let python = ["memento_python_stats_json"];
    for &shim in Shim::FILES {
        let mut public = public.clone();
        match shim {
            Shim::Isa => public.extend(signals),
            Shim::Node => public.extend(node),
            Shim::Python => public.extend(python),
            Shim::All | Shim::Report => public.extend(node.into_iter().chain(python)),
            _ => {}
        }
        let symbols = readelf(shim, "-sW");
        let exported: BTreeSet<_> = symbols
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| columns.len() == 8 && columns[6] != "UND" && columns[6] != "Ndx")
            .map(|columns| columns[7].to_owned())
            .collect();
        let exported: BTreeSet<_> = exported.iter().map(String::as_str).collect();
        assert_eq!(exported, public, "{shim:?}");
    }
}
