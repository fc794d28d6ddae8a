//! What every endpoint can be set to.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, uri::PathAndQuery};

use super::https::RequireHttps;
use crate::{
    TokenError,
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
            return Err(InvalidConfig(format!(
                "the path {path:?} can match no request: begin it with '/' and percent-encode what a URI cannot hold"
            )));
        }
        path.clone_into(&mut self.path);
        Ok(())
    }

    pub(crate) fn set_realm(&mut self, realm: &str) -> Result<(), InvalidConfig> {
        check_realm(realm)?;
        self.challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""))
            .map_err(|_| InvalidConfig(format!("the realm {realm:?} does not fit into a header")))?;
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
        Err(InvalidConfig(format!("the realm {realm:?} may hold only printable ASCII without '\"' and '\\'")))
    }
}

/// A setting that cannot work; the message names the value and the mend.
#[derive(Clone, Debug)]
pub struct InvalidConfig(String);

impl InvalidConfig {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidConfig {}
