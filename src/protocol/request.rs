//! A request to an endpoint, and what an endpoint is.

use bytes::Bytes;
use http::{Response, request::Parts};

use super::form::Form;
use crate::error::{BoxFuture, TokenError};
use crate::secret::Secret;
use crate::store::StoreBudget;

/// A request whose form was read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) parts: Parts,
    pub(crate) form: Form,
    /// The time that all its store calls share.
    pub(crate) budget: StoreBudget,
}

impl Request {
    /// The value of a required parameter.
    pub(crate) fn required(&self, name: &'static str) -> Result<&Secret, TokenError> {
        self.form.get(name).ok_or_else(|| TokenError::missing(vec![name]))
    }
}

/// The parameters of an endpoint.
pub(crate) struct Parameters {
    /// All others are ignored.
    pub(crate) known: Vec<&'static str>,
    /// A request without a form lacks these.
    pub(crate) required: &'static [&'static str],
    /// These are forbidden in the query string.
    pub(crate) not_in_query: Vec<&'static str>,
}

/// What one endpoint decides.
pub(crate) trait Endpoint: Send + Sync {
    /// The parameters of its requests: by default those of a question about a token (RFC 7009 and RFC 7662, section 2.1).
    fn parameters(&self) -> Parameters {
        Parameters {
            known: vec!["token", "token_type_hint", "client_id", "client_secret"],
            required: &["token"],
            not_in_query: vec!["token", "client_secret"],
        }
    }

    /// Decides one request.
    fn decide<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Response<Bytes>, TokenError>>;
}
