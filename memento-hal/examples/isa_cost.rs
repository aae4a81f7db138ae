//! What an emulated instruction costs: by trap, at its first execution, and when patched.
//!
//! `cargo run --release -p memento-hal --example isa_cost`

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "../tests/isa/code.rs"]
mod code;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() {
    use code::Page;
    use memento_hal::isa::{self, Device};
    use std::hint::black_box;
    use std::time::Instant;

    static DEVICE: Device =
        Device { obj_alloc: |size| size, obj_free: |_| Ok(()), region: || (0, 0) };

    /// Median over `samples` of the nanoseconds of one of `repeat` calls.
    fn median(samples: usize, repeat: usize, mut call: impl FnMut(usize)) -> f64 {
        let mut times: Vec<f64> = (0..samples)
            .map(|sample| {
                let start = Instant::now();
                for _ in 0..repeat {
                    call(sample);
                }
                start.elapsed().as_nanos() as f64 / repeat as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[samples / 2]
    }

    let start = Instant::now();
    isa::start(&DEVICE).expect("the kernel takes our handler");
    println!(
        "| start: handler, probe, patching the listed sites | {} |",
        start.elapsed().as_nanos()
    );
    let text = libc::PROT_READ | libc::PROT_EXEC;
    let shared = Page::new(0, libc::MAP_SHARED, text, 0);
    let trap = median(101, 200, |_| {
        shared.call(0, black_box(8));
    });
    println!("| trap, at a site that cannot be patched | {trap:.0} |");
    let page = Page::text();
    let first = median(Page::FUNCTIONS - 1, 1, |site| {
        page.call(site, black_box(8));
    });
    println!("| first execution of an unlisted site: trap and patch | {first:.0} |");
    let patched = median(101, 100_000, |_| {
        black_box(page.call(0, black_box(8)));
    });
    println!("| patched site | {patched:.1} |");
    let call = median(101, 100_000, |_| {
        black_box((black_box(&DEVICE).obj_alloc)(black_box(8)));
    });
    println!("| calling the device directly | {call:.1} |");
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() {
    println!("the instructions are emulated on x86-64 Linux only");
}
