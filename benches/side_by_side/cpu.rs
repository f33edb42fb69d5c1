//! The CPU time of a process, as the kernel's scheduler counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The CPU time of all threads so far, in user mode and in the kernel.
///
/// The scheduler keeps it in nanoseconds; `utime` and `stime` of `/proc/PID/stat` are the same
/// time in hundredths of a second.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    threads.map(|thread| on_cpu(&thread.expect("a directory that can be read").path())).sum()
}

fn on_cpu(thread: &Path) -> Duration {
    // A thread may end between its listing and here.
    let Ok(line) = fs::read_to_string(thread.join("schedstat")) else { return Duration::ZERO };
    let nanoseconds = line.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds first"))
}
