//! What every endpoint can be set to.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, uri::PathAndQuery};

use super::https::RequireHttps;
use crate::{
    error::{InvalidConfig, TokenError},
    protocol::response::{complete_error, render_error},
    store::STORE_TIME_BUDGET,
};

type Render = dyn Fn(&TokenError) -> Response<Bytes> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) path: String,
    pub(crate) body_limit: usize,
    pub(crate) store_time_budget: Duration,
    pub(crate) render: Arc<Render>,
    pub(crate) https: Option<RequireHttps>,
    challenge: HeaderValue,
}

impl Common {
    pub(crate) fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            body_limit: 16_384,
            store_time_budget: STORE_TIME_BUDGET,
            render: Arc::new(render_error),
            https: None,
            challenge: HeaderValue::from_static("Basic realm=\"token\""),
        }
    }

    pub(crate) fn set_path(&mut self, path: &str) -> Result<(), InvalidConfig> {
        let whole = path.starts_with('/')
            && path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.path() == path && parsed.query().is_none());
        if !whole {
            return Err(InvalidConfig::new(format!(
                "the path {path:?} can match no request: begin it with '/' and percent-encode what a URI cannot hold"
            )));
        }
        path.clone_into(&mut self.path);
        Ok(())
    }

    pub(crate) fn set_realm(&mut self, realm: &str) -> Result<(), InvalidConfig> {
        check_realm(realm)?;
        self.challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""))
            .map_err(|_| InvalidConfig::new(format!("the realm {realm:?} does not fit into a header")))?;
        Ok(())
    }

    pub(crate) fn render(&self, error: &TokenError) -> Response<Bytes> {
        complete_error(error, &self.challenge, (self.render)(error))
    }
}

pub(crate) fn check_realm(realm: &str) -> Result<(), InvalidConfig> {
    if realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        Ok(())
    } else {
        Err(InvalidConfig::new(format!("the realm {realm:?} may hold only printable ASCII without '\"' and '\\'")))
    }
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    #[test]
    fn a_path_that_no_request_has_is_refused_and_named() {
        let mut common = Common::new("/token");
        for path in ["", "token", "/a b", "/a?b", "/a?", "/a#b", "*"] {
            let error = common.set_path(path).unwrap_err().to_string();
            assert!(error.contains(&format!("{path:?}")), "{error}");
            assert_eq!(common.path, "/token");
        }
        for path in ["/", "/login", "/a/b%20c"] {
            common.set_path(path).unwrap();
            assert_eq!(common.path, path);
        }
    }

    #[test]
    fn a_realm_goes_into_the_challenge_or_is_refused_and_named() {
        let mut common = Common::new("/token");
        let challenge =
            |common: &Common| common.render(&TokenError::invalid_client()).headers()[WWW_AUTHENTICATE].to_owned();
        assert_eq!(challenge(&common), "Basic realm=\"token\"");
        for realm in ["a\"b", "a\\b", "a\nb", "\u{1F}", "\u{7F}", "é"] {
            let error = common.set_realm(realm).unwrap_err().to_string();
            assert!(error.contains(&format!("{realm:?}")), "{error}");
        }
        assert_eq!(challenge(&common), "Basic realm=\"token\"");
        common.set_realm(" members' ~ area").unwrap();
        assert_eq!(challenge(&common), "Basic realm=\" members' ~ area\"");
    }
}
