//! What a process uses, and how much it may use.

use std::{fs, io::ErrorKind};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub rss_kib: u64,
    pub threads: u64,
    pub files: u64,
}

pub fn usage(pid: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("the server has ended"),
        _ => panic!("{error}"),
    });
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} (has the server ended?) in {status}"))
    };
    Usage {
        rss_kib: number("VmRSS:"),
        threads: number("Threads:"),
        files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
    }
}

/// Allows this many open files, in this process and those that it starts.
pub fn allow_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), ..limit })
            .unwrap_or_else(|error| panic!("{count} open files are needed (ulimit -n): {error}"));
    }
}
