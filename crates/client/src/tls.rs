//! Why https does not work with a server, in words.

use std::error::Error;
use std::io;

use rustls::CertificateError::{
    self, BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
    NotValidYet, NotValidYetContext, Revoked, UnknownIssuer,
};
use rustls::InvalidMessage;

/// What is wrong with a machine on which no https is possible.
pub const NO_AUTHORITIES: &str = "this machine has no list of trusted certificate authorities; \
     install one (ca-certificates), or name its file in SSL_CERT_FILE";

/// What is wrong with a server that is there but cannot be talked to over TLS, if that is what an
/// error of the HTTP library is about. To try again does not help.
#[must_use]
pub fn fault_of(error: &(dyn Error + 'static)) -> Option<String> {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let fault = chain.filter_map(innermost).find_map(<dyn Error>::downcast_ref)?;
    match fault {
        rustls::Error::InvalidCertificate(fault) => Some(fault_of_certificate(fault)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("it does not speak TLS there; is it an http address?".to_owned())
        }
        _ => None,
    }
}

fn fault_of_certificate(fault: &CertificateError) -> String {
    let what = match fault {
        // A bad signature is how a namesake of a trusted authority looks.
        UnknownIssuer | BadSignature => {
            "is from an authority that this machine does not trust; SSL_CERT_FILE may name a file \
             of those to trust"
        }
        NotValidForName | NotValidForNameContext { .. } => "is for another host",
        Expired | ExpiredContext { .. } => "has expired",
        NotValidYet | NotValidYetContext { .. } => "is not valid yet, by this machine's clock",
        Revoked => "was revoked",
        other => return format!("its certificate is not valid ({other})"),
    };
    format!("its certificate {what}")
}

/// What an I/O error was made of, which is not among its sources; anything else is itself.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => innermost(error.get_ref()?),
        None => Some(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(error: rustls::Error) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_fault_is_found_inside_of_other_errors() {
        let fault = fault_of(&nested(rustls::Error::InvalidCertificate(Expired)));
        assert_eq!(fault.as_deref(), Some("its certificate has expired"));
        let fault = fault_of(&nested(CertificateError::BadEncoding.into()));
        assert_eq!(fault.as_deref(), Some("its certificate is not valid (BadEncoding)"));
    }

    #[test]
    fn what_may_pass_is_no_fault_of_the_server() {
        assert_eq!(fault_of(&nested(rustls::Error::HandshakeNotComplete)), None);
        assert_eq!(fault_of(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
