//! What several of these programs measure.

/// Resident bytes of this process, as the kernel counts them.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * page
}
