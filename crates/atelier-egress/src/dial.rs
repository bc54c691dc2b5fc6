//! Plain connections to checked addresses, for what is not HTTP of the server's own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::client::CONNECT_TIMEOUT;
use crate::policy::{EgressDenied, EgressPolicy};
use crate::resolve::{HostResolver, SystemResolver, check_addresses};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Denied(#[from] EgressDenied),
    /// Resolving or connecting failed, or both took over 10 s.
    #[error("cannot connect to {host}")]
    Connect {
        host: String,
        #[source]
        source: io::Error,
    },
}

/// Resolves, checks and dials. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn HostResolver>,
}

impl Dialer {
    #[must_use]
    pub fn new(policy: EgressPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// The same with another source of addresses.
    #[must_use]
    pub fn with_resolver(policy: EgressPolicy, resolver: Arc<dyn HostResolver>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    /// What may be dialled.
    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// Connects to `host`, a name or an address. When any of its addresses is denied none is dialled;
    /// else they are tried in turn.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt.
    ///
    /// # Errors
    /// An address is denied, or no connection came about within 10 s.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let failed = |source| DialError::Connect { host: host.to_owned(), source };
        let attempt = async {
            let addresses = self.resolver.addresses(host.to_owned()).await.map_err(failed)?;
            check_addresses(&self.policy, host, self.policy.lists_host(host, port), &addresses)?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in addresses {
                match TcpStream::connect(SocketAddr::new(address, port)).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(failed(last))
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(dialled) => dialled,
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }
}
