//! What the kernel says a process has used.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::NamedTempFile;

use crate::load::Load;
use crate::support::wait_until;
use crate::target::Target;

/// How system calls are counted, in runs of their own: neither way is free of charge.
#[derive(Debug)]
pub(crate) enum SyscallCounter {
    /// A counter in the kernel: exact, and next to free.
    Perf,
    /// Stops the process at each call: the count is exact, but a slower proxy finds more
    /// requests waiting at each turn, so that it is lower than it should be.
    Strace,
    Unavailable,
}

impl SyscallCounter {
    /// The best way that works here.
    pub(crate) fn detect() -> Self {
        if is_ok(perf(std::process::id(), Path::new("/dev/null")).arg("true")) {
            return Self::Perf;
        }
        match is_ok(Command::new("strace").args(["-f", "-c", "-o", "/dev/null", "true"])) {
            true => Self::Strace,
            false => Self::Unavailable,
        }
    }

    /// For the reader of the results.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Perf => "perf stat -e raw_syscalls:sys_enter",
            Self::Strace => "strace -f -c (too few: perf, of Debian's linux-perf, counts without slowing down)",
            Self::Unavailable => "n/a (needs perf and the right to use it, or strace; Debian: linux-perf, strace)",
        }
    }

    /// System calls of the process `pid`, per request of `load`. `None` if there is no way to count.
    pub(crate) fn per_request(&self, pid: u32, load: &Load, target: &Target) -> Option<f64> {
        let calls = match self {
            Self::Perf => count_by_perf(pid, load, target),
            Self::Strace => count_by_strace(pid, load, target),
            Self::Unavailable => return None,
        };
        Some(calls as f64 / f64::from(load.requests))
    }
}

fn count_by_perf(pid: u32, load: &Load, target: &Target) -> u64 {
    let table = NamedTempFile::new().expect("a writable temporary directory");
    let mut wrapper = perf(pid, table.path());
    wrapper.arg("timeout");
    load.run_under(wrapper, target);
    let text = fs::read_to_string(table.path()).expect("the table of perf");
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"));
    let count = line.and_then(|line| line.split(',').next()).and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("no count in what perf wrote:\n{text}"))
}

/// Counts while the command runs whose words are added behind.
fn perf(pid: u32, output: &Path) -> Command {
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string(), "-o"]).arg(output).arg("--");
    perf
}

fn count_by_strace(pid: u32, load: &Load, target: &Target) -> u64 {
    let table = NamedTempFile::new().expect("a writable temporary directory");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(table.path());
    let mut tracer = strace.stderr(Stdio::null()).spawn().expect("strace has run before");
    wait_until("strace watches every thread", || is_traced(pid).is_ok_and(|is_traced| is_traced));
    load.run(target);
    interrupt(&mut tracer);
    let text = fs::read_to_string(table.path()).expect("the table of strace");
    total_calls(&text).unwrap_or_else(|| panic!("no total in what strace wrote:\n{text}"))
}

fn is_traced(pid: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        if fs::read_to_string(thread?.path().join("status"))?.contains("\nTracerPid:\t0\n") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends it as Ctrl-C would, so that it writes its table.
fn interrupt(tracer: &mut Child) {
    let pid = tracer.id().to_string();
    let status = Command::new("sh").args(["-c", r#"kill -s INT "$0""#, &pid]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot interrupt strace");
    tracer.wait().expect("strace ends when interrupted");
}

/// From the last line, under the heading `calls`: which other columns are empty there
/// depends on the version.
fn total_calls(table: &str) -> Option<u64> {
    let end = table.lines().find_map(|line| Some(line.find("calls ")? + "calls".len()))?;
    let total = table.lines().find(|line| line.ends_with(" total"))?;
    total.get(..end)?.split_whitespace().last()?.parse().ok()
}

fn is_ok(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
