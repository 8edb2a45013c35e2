//! The proxy variables of an environment.
//!
//! Read once, when a session is built, from the variables that the caller hands over. It fails closed: a proxy that
//! cannot be used, or two spellings of a variable that disagree, is an error at load, never a direct connection. No
//! message repeats any part of a value, because user information may be in it.

use super::address::Address;
use super::bypass::Bypass;
use super::choice::Written;
use crate::Environment;
use crate::policy::Error;

/// The variables that name a proxy, in the order in which a message would mention them.
pub(super) const VARIABLES: [&str; 6] =
    ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// The proxies that `environment` names. An empty variable counts as absent.
///
/// # Errors
/// A proxy that cannot be used; two spellings of a variable that disagree.
pub(super) fn read(environment: &Environment) -> Result<Written, Error> {
    // A CGI server puts the request's `Proxy` header into HTTP_PROXY, and REQUEST_METHOD beside it: https://httpoxy.org
    let is_cgi = environment.get("REQUEST_METHOD").is_some();
    let http = match is_cgi {
        true => environment.get("http_proxy").map(|value| ("http_proxy", value)),
        false => variable(environment, "http_proxy", "HTTP_PROXY")?,
    };
    let proxy = |found: Option<(&'static str, &str)>| {
        let found = found.filter(|(_, value)| !value.trim().is_empty());
        found.map(|(variable, value)| address(variable, value)).transpose()
    };
    let bypass = variable(environment, "no_proxy", "NO_PROXY")?.map_or("", |(_, value)| value);
    Ok(Written {
        http: proxy(http)?,
        https: proxy(variable(environment, "https_proxy", "HTTPS_PROXY")?)?,
        all: proxy(variable(environment, "all_proxy", "ALL_PROXY")?)?,
        bypass: Bypass::parse(bypass),
    })
}

/// The variable in the spelling that is set; both may be, if they agree.
fn variable<'e>(
    environment: &'e Environment,
    lower: &'static str,
    upper: &'static str,
) -> Result<Option<(&'static str, &'e str)>, Error> {
    match (environment.get(lower), environment.get(upper)) {
        (Some(one), Some(other)) if one.trim() != other.trim() => {
            Err(Error::new(format!("{lower} and {upper} are both set and disagree; unset one of them")))
        }
        (Some(value), _) => Ok(Some((lower, value))),
        (None, Some(value)) => Ok(Some((upper, value))),
        (None, None) => Ok(None),
    }
}

fn address(variable: &'static str, value: &str) -> Result<(&'static str, Address), Error> {
    Address::parse(value)
        .map(|address| (variable, address))
        .map_err(|reason| Error::new(format!("{variable} is not a proxy that can be used: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        for value in [
            "socks4://hidden@p:1",
            "ftp://p",
            "http://",
            "http://u:hidden@",
            "http://u:hidden@p:0",
            "http://u:hidden@p:99999",
            "http://u:hid/den@p:1",
            "http://p:1/path",
            "http://u:hidden@[::1",
            "http://[hidden]:1",
            "http://p p:1",
            "http://p:+1",
            "hidden://u@p",
            "http://[::1]hidden",
            "http://u:hid#den@p",
            "http://u:hidden%0a@p",
            "http://hid%3aden:x@p",
        ] {
            for variable in VARIABLES {
                let error = read(&environment(&[(variable, value)])).unwrap_err().to_string();
                assert!(error.starts_with(&format!("{variable} is not a proxy that can be used: ")), "{error}");
                assert!(!error.contains("hid"), "{error}");
            }
        }
    }

    #[test]
    fn two_spellings_that_disagree_are_refused() {
        for (lower, upper) in [
            ("http_proxy", "HTTP_PROXY"),
            ("https_proxy", "HTTPS_PROXY"),
            ("all_proxy", "ALL_PROXY"),
            ("no_proxy", "NO_PROXY"),
        ] {
            let error = read(&environment(&[(lower, "http://a:1"), (upper, "http://b:2")])).unwrap_err();
            assert_eq!(error.to_string(), format!("{lower} and {upper} are both set and disagree; unset one of them"));
        }
    }
}
