//! A provider on a raw socket: it writes the bytes that it is told to, and nothing of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use atelier_llm::{Provider, ProviderKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fake::{ManualClock, Piece, provider_at};

/// The head of an answer whose body ends with the connection.
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// Serves one connection for each answer, in their order.
pub(crate) struct RawProvider {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl RawProvider {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Vec<Piece>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        let mut answers: VecDeque<_> = answers.into_iter().collect();
        tokio::spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, answer, Arc::clone(&noted)));
            }
        });
        Self { port, requests }
    }

    /// Answers with the head of a stream of events, then `body`, then closes the connection.
    pub(crate) async fn closing(bodies: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let answer = |body: Vec<u8>| vec![Piece::Bytes([HEAD.as_bytes(), &body].concat())];
        Self::start(bodies.into_iter().map(answer).collect::<Vec<_>>()).await
    }

    pub(crate) fn provider(&self, kind: ProviderKind) -> Arc<dyn Provider> {
        self.provider_with(kind, &Arc::new(ManualClock::default()))
    }

    pub(crate) fn provider_with(&self, kind: ProviderKind, clock: &Arc<ManualClock>) -> Arc<dyn Provider> {
        provider_at(self.port, kind, clock)
    }

    /// Requests so far, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut socket: TcpStream, answer: Vec<Piece>, noted: Arc<Mutex<Vec<String>>>) {
    let request = read_request(&mut socket).await;
    noted.lock().unwrap().push(request);
    for piece in answer {
        match piece {
            // a client that has gone away is no matter of the provider's
            Piece::Bytes(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Piece::Wait(go) => go.notified().await,
            Piece::Hang => std::future::pending().await,
            Piece::Break => {
                socket.set_zero_linger().unwrap();
                return;
            }
        }
    }
    let _ = socket.shutdown().await;
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        if socket.read_buf(&mut request).await.unwrap() == 0 {
            return String::from_utf8_lossy(&request).into_owned();
        }
    }
}
