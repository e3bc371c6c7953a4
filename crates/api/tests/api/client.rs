//! A client over a plain socket: it can be slow, huge and malformed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The problem that it names.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert!(self.head.to_lowercase().contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{self:?}");
        (self.status, problem["type"].as_str().unwrap().to_owned())
    }
}

/// A connection whose reads end the test rather than wait for ever.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    connection
}

/// The same of a client whose system takes a few bytes of what it does not read. By itself it would take up to 32 MiB.
pub(crate) fn connect_deaf(address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let connection = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    connection
}

/// Reads an answer after which the server closes.
pub(crate) fn answer(mut connection: TcpStream) -> Answer {
    let mut page = vec![];
    // A server that refuses a body closes while it is being sent.
    let _ = connection.read_to_end(&mut page);
    let page = String::from_utf8(page).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {page:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Sends a request with these further headers.
pub(crate) fn request(address: SocketAddr, line: &str, headers: &[&str]) -> Answer {
    let mut connection = connect(address);
    let host =
        if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    answer(connection)
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path}"), &[])
}
