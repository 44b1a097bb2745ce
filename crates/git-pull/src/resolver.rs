//! Looks names up, and leaves out the addresses that are never connected to.

use std::error::Error;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address;

/// A name all of whose addresses are forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{host} leads to {address}, which is {fault}")]
pub(crate) struct ForbiddenName {
    host: String,
    address: std::net::IpAddr,
    fault: &'static str,
}

/// The system's resolver behind a filter. The connection goes to the very addresses that were
/// checked, so a name that changes between check and use gains nothing.
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = filter(name.as_str(), found)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn filter(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let (mut allowed, mut forbidden) = (Vec::new(), None);
    for address in found {
        match address::fault_of(address.ip()) {
            None => allowed.push(address),
            Some(fault) => forbidden = Some((address.ip(), fault)),
        }
    }
    match forbidden {
        Some((address, fault)) if allowed.is_empty() => {
            Err(ForbiddenName { host: host.to_owned(), address, fault }.into())
        }
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses<const N: usize>(list: [&str; N]) -> impl Iterator<Item = SocketAddr> {
        list.map(|text| SocketAddr::new(text.parse().unwrap(), 0)).into_iter()
    }

    #[test]
    fn forbidden_addresses_of_a_name_are_left_out() {
        let kept = filter("x.example", addresses(["169.254.1.1", "10.0.0.1"])).unwrap();
        assert_eq!(kept, [SocketAddr::new("10.0.0.1".parse().unwrap(), 0)]);
    }

    #[test]
    fn a_name_with_forbidden_addresses_only_is_refused() {
        let fault = filter("x.example", addresses(["169.254.169.254"])).unwrap_err();
        assert!(fault.is::<ForbiddenName>(), "{fault}");
    }
}
