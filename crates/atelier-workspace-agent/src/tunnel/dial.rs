//! Dialing the server: a Unix socket or TCP, then the WebSocket's handshake.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use atelier_workspace_protocol::{CONNECT_PATH, FRAME_ACCEPTED_BYTES, SUBPROTOCOL, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, handshake::client::Request};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Stream = WebSocketStream<Transport>;

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// Host and port.
    Http(String),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("{0:?} is no address of a server: unix:/path or http://host[:port]")]
    Unknown(String),
    #[error("{0:?}: connecting by https is not supported by this build")]
    Tls(String),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:")
            && path.starts_with('/')
        {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with("https://") {
            return Err(AddressError::Tls(text.to_owned()));
        }
        match text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) {
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@']) => {
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                Ok(Self::Http(if has_port { host.to_owned() } else { format!("{host}:80") }))
            }
            _ => Err(AddressError::Unknown(text.to_owned())),
        }
    }

    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

#[derive(Debug)]
pub(crate) enum DialError {
    /// Not reached, or an answer that says to come again.
    Unreachable(String),
    /// 401 or 403.
    Refused,
    /// 410
    Retired,
    /// 426
    Version,
}

pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
}

pub(super) async fn dial(address: &Address, token: &str, boot_id: &str, ledger_id: &str) -> Result<Stream, DialError> {
    let unreachable = |error: &dyn std::fmt::Display| DialError::Unreachable(error.to_string());
    let host = match address {
        Address::Unix(_) => "localhost",
        Address::Http(host) => host,
    };
    let request = request(host, token, boot_id, ledger_id).map_err(|error| unreachable(&error))?;
    let handshake = async {
        let transport = connect(address).await.map_err(|error| unreachable(&error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_ACCEPTED_BYTES))
            .max_frame_size(Some(FRAME_ACCEPTED_BYTES));
        match tokio_tungstenite::client_async_with_config(request, transport, Some(config)).await {
            Ok((stream, _)) => Ok(stream),
            Err(Error::Http(response)) => Err(match response.status().as_u16() {
                401 | 403 => DialError::Refused,
                410 => DialError::Retired,
                426 => DialError::Version,
                status => DialError::Unreachable(format!("the server answers {status}")),
            }),
            Err(error) => Err(unreachable(&error)),
        }
    };
    tokio::time::timeout(PATIENCE, handshake).await.map_err(|error| unreachable(&error))?
}

async fn connect(address: &Address) -> std::io::Result<Transport> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(Transport::Unix),
        Address::Http(host) => {
            let stream = TcpStream::connect(host.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(Transport::Tcp(stream))
        }
    }
}

fn request(host: &str, token: &str, boot_id: &str, ledger_id: &str) -> Result<Request, Error> {
    let mut request = format!("ws://{host}{CONNECT_PATH}").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))?;
    authorization.set_sensitive(true);
    headers.insert("authorization", authorization);
    headers.insert(header::AGENT_VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    headers.insert(header::BOOT_ID, HeaderValue::from_str(boot_id)?);
    headers.insert(header::LEDGER_ID, HeaderValue::from_str(ledger_id)?);
    Ok(request)
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(Address::parse("unix:/run/a.sock").unwrap(), Address::Unix("/run/a.sock".into()));
        assert_eq!(Address::parse(" http://host:3000/ ").unwrap(), Address::Http("host:3000".into()));
        assert_eq!(Address::parse("http://host").unwrap(), Address::Http("host:80".into()));
        for bad in ["", "unix:relative", "https://host", "http://", "http://a/b", "ftp://a"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
