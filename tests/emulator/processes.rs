//! Processes, as the kernel lists them.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A process that runs a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionProcess {
    pub(crate) pid: Pid,
    /// The function's full name.
    pub(crate) function: String,
}

/// The processes of functions whose code is below `folder`.
pub(crate) fn functions_below(folder: &Path) -> Vec<FunctionProcess> {
    pids()
        .filter(|pid| executable(*pid).is_some_and(|path| path.starts_with(folder)))
        .filter_map(|pid| {
            let function = variable(pid, "AWS_LAMBDA_FUNCTION_NAME")?;
            Some(FunctionProcess { pid, function })
        })
        .collect()
}

/// The processes with an argument that begins with `text`.
pub(crate) fn with_argument(text: &str) -> Vec<Pid> {
    pids()
        .filter(|pid| {
            let arguments = fs::read(of(*pid, "cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            arguments.any(|argument| argument.starts_with(text.as_bytes()))
        })
        .collect()
}

/// Whether it still runs; a process that waits for its parent to notice its end does not.
pub(crate) fn is_alive(pid: Pid) -> bool {
    fs::read_to_string(of(pid, "stat")).is_ok_and(|stat| {
        // The name before it, in parentheses, may hold anything.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    })
}

/// How often its main thread, on which all of a function happens, has had to wait so far.
pub(crate) fn waits(process: &FunctionProcess) -> Option<u64> {
    let status = fs::read_to_string(of(process.pid, "status")).ok()?;
    let mut lines = status.lines();
    lines.find_map(|line| {
        let count = line.strip_prefix("voluntary_ctxt_switches:")?;
        count.trim().parse().ok()
    })
}

/// The one of these processes that has all these TCP connections on this machine; the first end of each is its own.
pub(crate) fn with_connections(
    processes: Vec<FunctionProcess>,
    connections: &[[SocketAddr; 2]],
) -> Option<FunctionProcess> {
    let list = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = list.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(fields.next()?.split_once(':')?.1, 16).ok();
        let ports = [port()?, port()?];
        // One that no process has open any more is 0.
        let inode = fields.nth(6).filter(|inode| *inode != "0")?;
        Some((ports, PathBuf::from(format!("socket:[{inode}]"))))
    });
    let sockets: BTreeMap<[u16; 2], PathBuf> = sockets.collect();
    let wanted = connections.iter().map(|ends| ends.map(|end| end.port()));
    let wanted = wanted.map(|ports| sockets.get(&ports));
    let wanted: BTreeSet<&PathBuf> = wanted.collect::<Option<_>>()?;
    processes.into_iter().find(|process| {
        let files = fs::read_dir(of(process.pid, "fd")).into_iter().flatten();
        let files = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let files: BTreeSet<PathBuf> = files.collect();
        wanted.iter().all(|socket| files.contains(*socket))
    })
}

/// Sends SIGKILL; false if the process is gone.
pub(crate) fn kill(process: &FunctionProcess) -> bool {
    kill_process(process.pid, Signal::KILL).is_ok()
}

fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

fn executable(pid: Pid) -> Option<PathBuf> {
    fs::read_link(of(pid, "exe")).ok()
}

/// A variable of the environment with which it was started.
pub(crate) fn variable(pid: Pid, name: &str) -> Option<String> {
    let environment = fs::read(of(pid, "environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let (key, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

fn of(pid: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", pid.as_raw_nonzero()))
}
