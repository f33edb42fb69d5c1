//! What a reader must know of the machine and the programs before believing a figure.

use std::fs;
use std::process::Command;

pub(crate) fn introduce() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("- machine: {cores} cores, Linux {}, {}", kernel.trim(), processor());
    println!("- load average before the run: {}", load.split(' ').next().unwrap_or("unknown"));
    println!("- redis-server: {}", version("redis-server"));
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("processor unknown", |name| name.trim_start_matches(['\t', ':', ' '])).to_owned()
}

/// The first line of what the program says of itself.
pub(crate) fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("missing").to_owned()
}
