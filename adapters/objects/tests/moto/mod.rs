//! An S3 server of a test's own: moto's, in Python and from PyPI. It is an implementation that shares nothing with the client
//! under test, and adds nothing to the build. `.ci/run --full` installs it and names it in `REPRISE_MOTO`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;

/// What a client has to know of a server on this port.
pub(crate) fn variables(port: u16) -> [(String, String); 5] {
    [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// An S3 server, ended when it is dropped.
pub(crate) struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    /// With an empty bucket, which is called `bucket`.
    pub(crate) fn start() -> Self {
        let program = std::env::var("REPRISE_MOTO").unwrap_or_else(|_| "moto_server".into());
        let mut child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}: install moto[server], and name it in REPRISE_MOTO")
            });
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = said
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split("http://127.0.0.1:")
                    .nth(1)?
                    .split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .unwrap_or_else(|| panic!("{program} does not say where it listens"));
        thread::spawn(move || said.for_each(drop));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let made =
            "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(made.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        Self { child, port }
    }

    /// What a client has to know of it.
    pub(crate) fn variables(&self) -> [(String, String); 5] {
        variables(self.port)
    }

    /// It answers nobody any more, and nobody's connection ends, until it goes on.
    pub(crate) fn stand_still(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success(), "the server was gone");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
