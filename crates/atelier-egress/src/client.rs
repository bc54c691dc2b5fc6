//! The client that asks the policy before it dials.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response, Url};

use crate::policy::{EgressDenied, EgressPolicy};
use crate::resolve::{HostResolver, SystemResolver, check_addresses};

/// Resolving and connecting together (daemon.md 6).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections are kept between the steps of a turn and between turns.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error(transparent)]
    Denied(#[from] EgressDenied),
    /// No connection: resolving, dialling or TLS failed, or took over 10 s.
    #[error("cannot connect to {host}")]
    Connect {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke while the request was sent or the answer read.
    #[error("the connection to {host} was lost")]
    Transport {
        host: String,
        #[source]
        source: reqwest::Error,
    },
}

/// Why TLS with a host will not come about, however often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is not trusted by this machine, not valid any more, or another host's.
    Certificate,
    /// The other side does not speak TLS at this port.
    NotTls,
}

impl EgressError {
    /// Set where a fault of TLS is the cause, and one that stays. A handshake that was cut is none.
    #[must_use]
    pub fn tls_fault(&self) -> Option<TlsFault> {
        let Self::Connect { source, .. } = self else { return None };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source);
        while let Some(error) = cause {
            match error.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                    return Some(TlsFault::Certificate);
                }
                Some(rustls::Error::InvalidMessage(_)) => return Some(TlsFault::NotTls),
                Some(_) | None => {}
            }
            // an I/O error that wraps another one names the source of that one as its own
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
                None => error.source(),
            };
        }
        None
    }

    /// What an error of the HTTP library means. Also for errors that come while a body is read.
    #[must_use]
    pub fn from_transport(host: &str, source: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&source);
        while let Some(error) = cause {
            if let Some(denied) = error.downcast_ref::<EgressDenied>() {
                return Self::Denied(denied.clone());
            }
            cause = error.source();
        }
        let host = host.to_owned();
        if source.is_connect() { Self::Connect { host, source } } else { Self::Transport { host, source } }
    }
}

/// The outgoing client. Cheap to clone; connections are kept and shared by all clones.
#[derive(Clone, Debug)]
pub struct Egress {
    policy: Arc<EgressPolicy>,
    client: Client,
    /// For hosts that the policy lists by name, with connections of its own, so that none of them is
    /// ever used for another host's rules.
    granted: Option<Client>,
}

impl Egress {
    /// # Errors
    /// TLS cannot be set up, for instance because the machine has no root certificates.
    pub fn new(policy: EgressPolicy) -> Result<Self, reqwest::Error> {
        let resolver: Arc<dyn HostResolver> = Arc::new(SystemResolver);
        Self::with_resolver(policy, &resolver)
    }

    /// The same with another source of addresses.
    ///
    /// # Errors
    /// As [`Egress::new`].
    pub fn with_resolver(policy: EgressPolicy, resolver: &Arc<dyn HostResolver>) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let client = |for_granted_hosts| {
            build_client(CheckedResolver {
                policy: Arc::clone(&policy),
                resolver: Arc::clone(resolver),
                for_granted_hosts,
            })
        };
        let granted = if policy.has_hosts() { Some(client(true)?) } else { None };
        Ok(Self { client: client(false)?, granted, policy })
    }

    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// Refuses a URL whose host is an address that may not be reached (on save, and before each call).
    ///
    /// # Errors
    /// The address is denied, or `url` is no URL with a host.
    pub fn check_url(&self, url: &str) -> Result<(), EgressDenied> {
        let url = Url::parse(url).map_err(|_| EgressDenied { host: url.to_owned() })?;
        self.policy.check_url(&url)
    }

    /// Sends `request` and returns the answer once its head is here, whatever its status.
    ///
    /// # Cancel safety
    /// Dropping the future, or the answer before its body is read, ends the request at the other side.
    ///
    /// # Errors
    /// The address is denied, no connection came about, or it broke.
    pub async fn send(&self, request: Request) -> Result<Response, EgressError> {
        self.policy.check_url(request.url())?;
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let client = match &self.granted {
            Some(granted) if self.policy.grants_host(request.url()) => granted,
            _ => &self.client,
        };
        client.execute(request).await.map_err(|source| EgressError::from_transport(&host, source))
    }
}

fn build_client(resolver: CheckedResolver) -> Result<Client, reqwest::Error> {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        // a compressed event stream arrives late, because the other side collects before it sends; a server
        // that compresses all the same is understood
        .gzip(true)
        .brotli(true)
        .deflate(true)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .user_agent(concat!("atelier/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEP_ALIVE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .dns_resolver(resolver)
        .build()
}

/// Resolves once and refuses when any address is denied; what it returns is what is dialled.
struct CheckedResolver {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn HostResolver>,
    for_granted_hosts: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let lookup = self.resolver.addresses(host.clone());
        let policy = Arc::clone(&self.policy);
        let for_granted_hosts = self.for_granted_hosts;
        Box::pin(async move {
            let addresses = lookup.await?;
            check_addresses(&policy, &host, for_granted_hosts, &addresses)?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
