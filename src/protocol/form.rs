//! Form bodies: WHATWG urlencoded, and strictly UTF-8 (RFC 6749, section 3.2 and appendix B).

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::{error::TokenError, secret::Secret};

/// The parameters of one request that the endpoint knows.
#[derive(Debug)]
pub(crate) struct Form(Vec<(&'static str, Secret)>);

impl Form {
    /// Parses a body. No `known` parameter may occur twice. All others are ignored.
    pub(crate) fn parse(body: &[u8], known: &[&'static str]) -> Result<Self, TokenError> {
        // The parser below is lossy. The separators are ASCII, so if the whole is UTF-8, so is every name and value.
        if std::str::from_utf8(&percent_decoded(body)).is_err() {
            return Err(TokenError::invalid_request("The body is not UTF-8"));
        }
        let mut parameters: Vec<(&'static str, Secret)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            let Some(name) = known.iter().find(|known| **known == name) else { continue };
            if parameters.iter().any(|(present, _)| present == name) {
                return Err(TokenError::invalid_request("A parameter is given more than once"));
            }
            parameters.push((name, Secret::new(value.into_owned())));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter. An empty one counts as omitted (RFC 6749, section 3.2).
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(present, value)| *present == name && !value.is_empty()).map(|(_, value)| value)
    }
}

/// Decodes `+` and `%XX`. `None` if the result is not UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<Zeroizing<String>> {
    let spaced: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect());
    std::str::from_utf8(&percent_decoded(&spaced)).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn percent_decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    // Enough room at once: growing would leave copies of a password behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode(text));
    bytes
}

/// Rejects credentials in the request URI (RFC 6749, section 2.3.1).
pub(crate) fn check_query(query: Option<&str>, forbidden: &[&'static str]) -> Result<(), TokenError> {
    let query = query.unwrap_or_default().as_bytes();
    let occurs = |forbidden: &&str| form_urlencoded::parse(query).any(|(name, _)| name == *forbidden);
    let found: Vec<_> = forbidden.iter().copied().filter(occurs).collect();
    let refused = TokenError::invalid_request("Credentials must not be in the query string");
    if found.is_empty() { Ok(()) } else { Err(refused.with_missing(found)) }
}

/// Rejects a body that is not declared as a form.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), TokenError> {
    let refused = TokenError::invalid_request("The body must be application/x-www-form-urlencoded");
    let field = single(headers, &CONTENT_TYPE, refused.clone())?;
    let essence = field.and_then(|field| field.to_str().ok()?.split(';').next());
    let is_form = |essence: &str| essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
    if essence.is_some_and(is_form) { Ok(()) } else { Err(refused) }
}

/// The header field of this name, or the error if there are several.
pub(crate) fn single<'a, E>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    several: E,
) -> Result<Option<&'a HeaderValue>, E> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (_, Some(_)) => Err(several),
        (field, None) => Ok(field),
    }
}

/// `VSCHAR` of RFC 6749, appendix A.
pub(crate) fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7E))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["username", "scope"];

    fn get(body: &str, name: &str) -> Option<String> {
        Form::parse(body.as_bytes(), KNOWN).unwrap().get(name).map(|value| value.expose().to_owned())
    }

    #[test]
    fn decoding_follows_whatwg() {
        for (body, expected) in [
            ("username=a+b", "a b"),
            ("username=a%20b", "a b"),
            ("&&username=a", "a"),
            ("username=a=b", "a=b"),
            ("user%6Eame=a", "a"),
            ("username=50%&x=1", "50%"),
            ("username=%2", "%2"),
            ("username=%EF%BB%BFa", "\u{FEFF}a"),
            ("username=a%2520", "a%20"),
        ] {
            assert_eq!(get(body, "username").as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn empty_is_omitted_and_case_matters() {
        assert_eq!(get("username=", "username"), None);
        assert_eq!(get("username", "username"), None);
        assert_eq!(get("Username=a", "username"), None);
    }

    #[test]
    fn a_body_full_of_fields_is_parsed_once() {
        // So many that reading all of them for each would never end.
        let body = format!("{}username=a", "x&".repeat(300_000));
        assert_eq!(get(&body, "username").as_deref(), Some("a"));
        assert_eq!(Form::parse(body.as_bytes(), KNOWN).unwrap().0.len(), 1, "nothing is kept of the others");
        let mut headers = HeaderMap::new();
        let parameters = ";a=\"\\\"".repeat(300_000);
        headers.insert(CONTENT_TYPE, format!("application/x-www-form-urlencoded{parameters}").parse().unwrap());
        assert!(check_media_type(&headers).is_ok());
    }

    #[test]
    fn a_repeated_parameter_is_refused_even_if_one_is_encoded_or_empty() {
        for body in ["scope=a&scope=a", "scope=a&sc%6Fpe=b", "scope=&scope=a"] {
            assert!(Form::parse(body.as_bytes(), KNOWN).is_err(), "{body}");
        }
        assert!(Form::parse(b"x=1&x=2&scope=a", KNOWN).is_ok());
    }

    #[test]
    fn a_body_that_is_not_utf8_is_refused() {
        for body in [&b"username=%FF"[..], b"username=\xFF", b"%FF=a", b"other=%C3%28"] {
            assert!(Form::parse(body, KNOWN).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_parsed_or_refused(body: Vec<u8>) {
            if let Ok(form) = Form::parse(&body, KNOWN) {
                proptest::prop_assert!(form.0.len() <= KNOWN.len());
            }
        }
    }
}
