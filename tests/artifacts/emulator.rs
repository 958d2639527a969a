//! AWS's own runtime interface emulator: Lambda's side of the runtime API, with its timeouts and
//! restarts.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    env,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};
use surehand_test_support::cargo;

/// A function's timeout.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// A function, as Lambda runs it. Dropping it ends it.
pub(crate) struct Lambda {
    emulator: Child,
    address: SocketAddr,
    log: PathBuf,
}

/// What Lambda answered to an invocation.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Lambda {
    /// Runs a function's binary; `name` is the function's name and different in each test.
    pub(crate) fn start(name: &str, binary: &Path) -> Self {
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let (address, runtime_api) = (free_address(), free_address());
        let emulator = Command::new(program())
            .arg("--runtime-interface-emulator-address")
            .arg(address.to_string())
            .arg("--runtime-api-address")
            .arg(runtime_api.to_string())
            .arg(binary)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", TIMEOUT.as_secs().to_string())
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("RUST_BACKTRACE", "0")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .spawn()
            .unwrap();
        let lambda = Self {
            emulator,
            address,
            log,
        };
        lambda.wait_until_it_listens();
        lambda
    }

    pub(crate) fn invoke(&self, event: &Value) -> Answer {
        let event = event.to_string();
        let mut connection = TcpStream::connect(self.address).unwrap();
        write!(
            connection,
            "POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nHost: {}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{event}",
            self.address,
            event.len()
        )
        .unwrap();
        // An emulator that hangs must not hang the test.
        connection
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            body: body.to_owned(),
        }
    }

    /// The lines that the function has logged.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        let lines = text.lines().filter(|line| line.starts_with('{'));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn wait_until_it_listens(&self) {
        for _ in 0..600 {
            if TcpStream::connect(self.address).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        panic!("the emulator does not listen: {log}");
    }
}

impl Drop for Lambda {
    /// Asked politely, the emulator ends the function's process as well.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.emulator), Signal::TERM);
        let _ = self.emulator.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The SAM CLI's wheel carries the emulator.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let name = match env::consts::ARCH {
            "aarch64" => "aws-lambda-rie-arm64",
            _ => "aws-lambda-rie-x86_64",
        };
        let python = fs::read_dir(cargo::tools().join("lib"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join("site-packages").exists())
            .unwrap();
        let program = python.join("site-packages/samcli/local/rapid").join(name);
        make_executable(&program);
        program
    })
}

/// Wheels do not say which of their files are programs.
fn make_executable(program: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = fs::metadata(program).unwrap().permissions();
    if permissions.mode() & 0o111 != 0o111 {
        permissions.set_mode(0o755);
        fs::set_permissions(program, permissions).unwrap();
    }
}
