//! An S3 server of a test's own: moto's, in Python and from PyPI. It is an implementation that shares nothing with the client
//! under test, and adds nothing to the build. `.ci/run --full` installs it and names it in `REPRISE_TEST_MOTO`.

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
        let program = std::env::var("REPRISE_TEST_MOTO").unwrap_or_else(|_| "moto_server".into());
        let mut child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}: install moto[server], and name it in REPRISE_TEST_MOTO")
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
        let moto = Self { child, port };
        moto.ask("PUT /bucket", "", "");
        moto
    }

    /// What the server answers to a request with these headers.
    fn ask(&self, request: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let len = body.len();
        let whole = format!(
            "{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        stream.write_all(whole.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        answer
    }

    /// A user with these rights: what a client has to know to be that one.
    pub(crate) fn user(&self, name: &str, policies: &[&str]) -> [(String, String); 5] {
        // What is signed for says which service is asked; who signs is not looked at before [`Self::asks_for_rights`].
        let headers = "Content-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 \
                       Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none\r\n";
        let ask = |action: &str, more: &str| {
            let body = format!("Action={action}&Version=2010-05-08&UserName={name}{more}");
            self.ask("POST /", headers, &body)
        };
        ask("CreateUser", "");
        for (number, policy) in policies.iter().enumerate() {
            let escaped: String = policy.bytes().map(|byte| format!("%{byte:02x}")).collect();
            ask("PutUserPolicy", &format!("&PolicyName=p{number}&PolicyDocument={escaped}"));
        }
        let key = ask("CreateAccessKey", "");
        let field = |name: &str| {
            let (_, after) = key.split_once(&format!("<{name}>")).unwrap();
            after.split('<').next().unwrap().to_owned()
        };
        let mut variables = self.variables();
        for (name, value) in &mut variables {
            match name.as_str() {
                "AWS_ACCESS_KEY_ID" => *value = field("AccessKeyId"),
                "AWS_SECRET_ACCESS_KEY" => *value = field("SecretAccessKey"),
                _ => {}
            }
        }
        variables
    }

    /// From now on whoever asks has to have the right to.
    pub(crate) fn asks_for_rights(&self) {
        self.ask("POST /moto-api/reset-auth", "Content-Type: text/plain\r\n", "0");
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
