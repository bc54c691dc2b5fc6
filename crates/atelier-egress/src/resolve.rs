//! Names into addresses, and the check of what came out.

use std::io;
use std::net::IpAddr;

use futures::future::BoxFuture;

use crate::policy::{EgressDenied, EgressPolicy};

/// Turns a name into its addresses.
pub trait HostResolver: Send + Sync + 'static {
    fn addresses(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl HostResolver for SystemResolver {
    fn addresses(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Refuses all of `addresses` if `policy` denies one of them. `is_granted`: the host is listed by name.
pub(crate) fn check_addresses(
    policy: &EgressPolicy,
    host: &str,
    is_granted: bool,
    addresses: &[IpAddr],
) -> Result<(), EgressDenied> {
    let all_allowed = addresses.iter().all(|address| {
        if is_granted { policy.allows_address_of_granted_host(*address) } else { policy.allows_address(*address) }
    });
    if all_allowed {
        return Ok(());
    }
    tracing::warn!(host, "an outgoing call was refused: the name has a denied address");
    Err(EgressDenied { host: host.to_owned() })
}
