//! `seaway serve` as an operator runs it: a process with a file, an address and signals; and a client that sees every byte.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::folder::Folder;
use crate::program::Program;
use crate::{cargo, eventually, soon};

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    process: Child,
    folder: Folder,
    said: Arc<Mutex<String>>,
    logged: Arc<Mutex<String>>,
}

impl Gateway {
    /// Runs it under this file, on a free port of loopback. `variables` are its environment.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn start(file: &str, variables: &[(&str, &str)]) -> Self {
        Self::listening(file, variables, "127.0.0.1:0").await
    }

    /// The same, at an address of the test's own.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn listening(file: &str, variables: &[(&str, &str)], address: &str) -> Self {
        let folder = Folder::new();
        folder.write("seaway.toml", file);
        let address = address.replace("$DIR", &folder.path().display().to_string());
        let mut command = Command::new(cargo::binary());
        command.args(["serve", "--listen", &address]).current_dir(folder.path()).env_clear();
        command.env("HOME", folder.path()).env("XDG_CACHE_HOME", Program::cache());
        command.envs(variables.iter().copied());
        let spawned = tokio::task::spawn_blocking(move || {
            Program::warm();
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        let process = spawned.await.expect("the thread does not panic").expect("the binary can be started");
        let mut gateway = Self { process, folder, said: Arc::default(), logged: Arc::default() };
        collect(gateway.process.stderr.take(), &gateway.said);
        collect(gateway.process.stdout.take(), &gateway.logged);
        gateway.says("listening on ").await;
        gateway
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If that is no address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let said = self.said();
        let line = said.lines().find_map(|line| line.strip_prefix("listening on "));
        line.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {said}"))
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Its folder, with `seaway.toml` in it.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it has said on standard error.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written on standard output.
    #[must_use]
    pub fn logged(&self) -> String {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its process holds now.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn held(&self) -> Held {
        let of = |name: &str| format!("/proc/{}/{name}", self.process.id());
        let pages = std::fs::read_to_string(of("statm")).expect("it runs");
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        let descriptors = std::fs::read_dir(of("fd")).expect("it runs").count();
        Held { descriptors, memory: pages.expect("a number of pages") * 4096 }
    }

    /// Waits until it has said so on standard error.
    pub async fn says(&self, words: &str) {
        eventually(&format!("it says `{words}`"), || self.said().contains(words)).await;
    }

    /// Asks until `fact` holds.
    pub async fn until(&self, what: &str, mut fact: impl AsyncFnMut() -> bool) {
        let holds = async { while !fact().await {} };
        soon(what, holds).await;
    }

    /// Sends it a signal: `TERM`, `HUP`.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "it takes signals");
    }

    /// Waits for its end; its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("it ends", || {
            let ended = self.process.try_wait().ok().flatten();
            code = ended.and_then(|status| status.code());
            ended.is_some()
        })
        .await;
        code
    }

    /// A connection to it.
    pub async fn connect(&self) -> Wire {
        Wire::to(self.address()).await
    }

    /// Sends a request on a connection of its own, and reads the answer to its end.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut wire = self.connect().await;
        wire.send(method, path, headers, body).await;
        wire.reply().await
    }

    /// Asks for a completion.
    pub async fn complete(&self, key: &str, body: &str) -> Reply {
        let authorization = format!("Bearer {key}");
        self.ask("POST", "/v1/chat/completions", &[("authorization", &authorization)], body).await
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Open files and sockets.
    pub descriptors: usize,
    /// Resident, in bytes.
    pub memory: usize,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn collect(from: Option<impl Read + Send + 'static>, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    let lines = BufReader::new(from.expect("it is piped")).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut text = into.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The head as it came, in lower case.
    pub head: String,
    /// The body, without the framing of chunks.
    pub body: String,
}

impl Reply {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }
}

/// A connection of a client that writes its requests by hand.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    pending: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn to(address: SocketAddr) -> Self {
        let socket = soon("it is connected", TcpStream::connect(address)).await.expect("somebody listens");
        Self { socket, pending: Vec::new() }
    }

    /// Sends bytes. What a peer that has closed does not take is lost.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        drop(soon("it is written", self.socket.write_all(bytes.as_ref())).await);
    }

    /// Sends a request.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: seaway\r\ncontent-length: {length}\r\n{fields}\r\n");
        self.write([head.as_bytes(), body.as_bytes()].concat()).await;
    }

    /// Reads a whole answer.
    ///
    /// # Panics
    /// If none comes.
    pub async fn reply(&mut self) -> Reply {
        let head = self.until("\r\n\r\n").await.expect("an answer has a head").to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let reply = Reply { status: status.expect("an answer has a status"), head, body: String::new() };
        let body = match reply.header("content-length").map(|length| length.parse().expect("a length is a number")) {
            Some(length) => self.exactly(length).await.expect("the body is whole"),
            None => self.chunks().await,
        };
        Reply { body, ..reply }
    }

    /// Reads chunks to the last, or to where the connection ends.
    async fn chunks(&mut self) -> String {
        let mut body = String::new();
        while let Some(piece) = self.piece().await {
            body.push_str(&piece);
        }
        body
    }

    /// Reads the next chunk; absent after the last, and where the connection ends.
    ///
    /// # Panics
    /// If it is no chunk.
    pub async fn piece(&mut self) -> Option<String> {
        let line = self.until("\r\n").await?;
        let length = usize::from_str_radix(line.trim_end(), 16).expect("a chunk begins with its length");
        let piece = self.exactly(length + 2).await?;
        Some(piece[..length].to_owned()).filter(|piece| !piece.is_empty())
    }

    /// Reads up to the end of `mark`; absent if the connection ends before.
    pub async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let at = self.pending.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = at {
                return self.exactly(at + mark.len()).await;
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<String> {
        while self.pending.len() < length {
            self.more().await?;
        }
        let rest = self.pending.split_off(length);
        let taken = std::mem::replace(&mut self.pending, rest);
        Some(String::from_utf8(taken).expect("it is text"))
    }

    /// True once the peer has closed, and nothing more has come.
    pub async fn is_closed(&mut self) -> bool {
        self.pending.is_empty() && self.more().await.is_none()
    }

    async fn more(&mut self) -> Option<()> {
        let read = soon("it sends, or closes", self.socket.read_buf(&mut self.pending)).await.unwrap_or(0);
        (read > 0).then_some(())
    }
}
