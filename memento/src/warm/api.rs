//! The platform's end of the Lambda Runtime API: hands events to one process, one after the other, and
//! measures each from handing out to the response.
//!
//! CPU time is the process's own clock, all threads; what it does between two invocations (giving memory
//! back, collecting garbage) is in none.

use crate::engine::Job;
use anyhow::{Context, Result, bail};
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tiny_http::{Header, Method, Request, Response, Server};

/// The version of the interface in its paths.
const ROOT: &str = "/2018-06-01/runtime/";

/// One process that served invocations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// From starting the process until it asked for its first event.
    pub init_ns: u64,
    /// Every invocation, in order.
    pub invocations: Vec<Invocation>,
    /// Peak resident set at the end.
    pub peak_rss_bytes: u64,
    /// Resident set after the last response.
    pub rss_bytes: u64,
}

/// One invocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// From handing the event out to the response.
    pub wall_ns: u64,
    /// CPU time of the process in between.
    pub cpu_ns: u64,
}

/// Kills the process when it is dropped: an instance never ends by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `job` and has it serve `count` invocations of `event`.
///
/// # Errors
/// If it does not start, ends, reports an error, or takes longer than `limit` for a step.
pub fn serve(job: &Job, event: &str, count: usize, limit: Duration) -> Result<Instance> {
    let server = Server::http("127.0.0.1:0")
        .map_err(|error| anyhow::anyhow!("cannot serve events: {error}"))?;
    let errors = tempfile::NamedTempFile::new().context("cannot make a file for error messages")?;
    let mut command = Command::new(&job.command[0]);
    command.args(&job.command[1..]).envs(job.environment.iter().map(|(n, v)| (n, v)));
    command.env("AWS_LAMBDA_RUNTIME_API", server.server_addr().to_string());
    command.env("AWS_LAMBDA_FUNCTION_NAME", "function").env("_HANDLER", "function.handler");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.reopen()?);
    let begin = Instant::now();
    let child = command.spawn().with_context(|| job.command[0].to_string_lossy().into_owned())?;
    let mut platform = Platform { server, running: Running(child), errors, limit };

    let mut next = platform.request()?;
    let init_ns = nanoseconds(begin.elapsed());
    let mut invocations = Vec::with_capacity(count);
    for number in 0..count {
        if *next.method() != Method::Get || next.url() != format!("{ROOT}invocation/next") {
            return platform.unexpected(next);
        }
        let id = request_id(number);
        let (begin, used) = (Instant::now(), platform.cpu_ns());
        next.respond(with_event(event, &id)?).context("the program does not take its event")?;
        let response = platform.request()?;
        let invocation = Invocation {
            wall_ns: nanoseconds(begin.elapsed()),
            cpu_ns: platform.cpu_ns().saturating_sub(used),
        };
        if response.url() != format!("{ROOT}invocation/{id}/response") {
            return platform.unexpected(response);
        }
        accept(response)?;
        invocations.push(invocation);
        next = platform.request()?;
    }
    let (peak_rss_bytes, rss_bytes) = platform.memory();
    Ok(Instance { init_ns, invocations, peak_rss_bytes, rss_bytes })
}

struct Platform {
    server: Server,
    running: Running,
    errors: tempfile::NamedTempFile,
    limit: Duration,
}

impl Platform {
    /// The next request of the program.
    fn request(&mut self) -> Result<Request> {
        let begin = Instant::now();
        loop {
            // Now and then it is looked at whether there is anyone left to ask.
            if let Some(request) = self.server.recv_timeout(Duration::from_millis(100))? {
                return Ok(request);
            }
            if let Some(status) = self.running.0.try_wait()? {
                let said = std::fs::read_to_string(self.errors.path()).unwrap_or_default();
                let last = said.trim().lines().next_back().unwrap_or_default().to_owned();
                bail!("it ended ({status}) before it had answered: {last}");
            }
            if begin.elapsed() > self.limit {
                bail!(
                    "stopped after {} s without an answer, the time limit",
                    self.limit.as_secs_f64()
                );
            }
        }
    }

    /// An error of the function, or of the interface.
    fn unexpected<T>(&self, mut request: Request) -> Result<T> {
        let mut body = String::new();
        let _ = request.as_reader().read_to_string(&mut body);
        let url = request.url().to_owned();
        let _ = accept(request);
        if url.ends_with("/error") {
            let parsed: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let message = parsed["errorMessage"].as_str().unwrap_or(&body);
            let when = if url.ends_with("init/error") {
                "it could not be initialised"
            } else {
                "it failed"
            };
            bail!("{when}: {message}");
        }
        bail!("it asked for {url}, which is no answer to its event")
    }

    fn pid(&self) -> u32 {
        self.running.0.id()
    }

    fn cpu_ns(&self) -> u64 {
        let clock = i32::try_from(self.pid())
            .ok()
            .and_then(|pid| ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok());
        let time = clock.and_then(|clock| clock.now().ok());
        time.map_or(0, |time| nanoseconds(Duration::from(time)))
    }

    /// Peak and present resident set.
    fn memory(&self) -> (u64, u64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        (field("VmHWM:"), field("VmRSS:"))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The ID of an invocation: the same every time.
pub fn request_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn with_event(event: &str, id: &str) -> Result<Response<std::io::Cursor<Vec<u8>>>> {
    let mut response = Response::from_string(event);
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", id),
        ("Lambda-Runtime-Deadline-Ms", "9999999999999"),
        ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:local:0:function:function"),
    ] {
        let header = Header::from_bytes(name, value);
        response.add_header(header.map_err(|()| anyhow::anyhow!("a header cannot be made"))?);
    }
    Ok(response)
}

fn accept(request: Request) -> Result<()> {
    request
        .respond(Response::from_string("{}").with_status_code(202))
        .context("the program has gone")
}
