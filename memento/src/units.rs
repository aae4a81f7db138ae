//! Numbers as people read them.

/// Nanoseconds in a unit that leaves one to three digits before the point.
pub fn duration(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e3 => format!("{ns} ns"),
        _ if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

/// Bytes in binary units.
pub fn bytes(count: u64) -> String {
    let n = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", n / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", n / 1_048_576.0),
        _ => format!("{:.2} GiB", n / 1_073_741_824.0),
    }
}

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A share; "–" of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".into();
    }
    format!("{:.2} %", 100.0 * part as f64 / whole as f64)
}

/// Nanoseconds as they come from a mean.
pub fn seconds(ns: f64) -> String {
    duration(ns.round().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_234_567), "1.2 ms");
        assert_eq!(duration(2_500_000_000), "2.50 s");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(3 << 20), "3.0 MiB");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(percent(1, 0), "–");
        assert_eq!(percent(1, 3), "33.33 %");
    }
}
