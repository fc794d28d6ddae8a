//! What the layers of all endpoints have in common, written once.

/// Gives a layer with a field `endpoint: Arc<$endpoint>` the options that every endpoint has, and makes it a layer.
macro_rules! endpoint_layer {
    ($layer:ident, $endpoint:ident) => {
        impl $layer {
            fn edit(mut self, change: impl FnOnce(&mut $endpoint)) -> Self {
                change(std::sync::Arc::make_mut(&mut self.endpoint));
                self
            }

            /// The path, compared to the request's exactly, without decoding.
            ///
            /// # Errors
            /// When it does not begin with `/`, or holds what no request path can hold.
            pub fn with_path(mut self, path: &str) -> Result<Self, $crate::error::InvalidConfig> {
                std::sync::Arc::make_mut(&mut self.endpoint).common.set_path(path)?;
                Ok(self)
            }

            /// The `realm` of the Basic challenge that goes with a 401: `token` unless set.
            ///
            /// # Errors
            /// When it holds anything but printable ASCII without `"` and `\`.
            pub fn with_realm(mut self, realm: &str) -> Result<Self, $crate::error::InvalidConfig> {
                std::sync::Arc::make_mut(&mut self.endpoint).common.set_realm(realm)?;
                Ok(self)
            }

            /// The longest body that is read, in bytes: 16,384 unless set. A longer one is answered 413 as soon as
            /// that is known.
            #[must_use]
            pub fn with_body_limit(self, bytes: usize) -> Self {
                self.edit(|endpoint| endpoint.common.body_limit = bytes)
            }

            /// How long one request waits for its stores, all calls together: 500 ms unless set, from 10 ms to a
            /// minute. Then it is answered 503. What is not the stores' time, such as a password hash, is not counted.
            #[must_use]
            pub fn with_store_time_budget(self, budget: std::time::Duration) -> Self {
                self.edit(|endpoint| endpoint.common.store_time_budget = budget)
            }

            /// Refuses requests that are not known to have come over TLS, before their body is read: 400
            /// `invalid_request`.
            #[must_use]
            pub fn with_https_required(self, rule: $crate::layer::https::RequireHttps) -> Self {
                self.edit(|endpoint| endpoint.common.https = Some(rule))
            }

            /// Renders errors in an API's own shape. The headers that an error must carry are added: `cache-control`,
            /// `pragma`, and, where the response has none, `retry-after` and `www-authenticate`.
            #[must_use]
            pub fn with_error_response(
                self,
                render: impl Fn(&$crate::error::TokenError) -> http::Response<bytes::Bytes> + Send + Sync + 'static,
            ) -> Self {
                self.edit(|endpoint| endpoint.common.render = std::sync::Arc::new(render))
            }

            /// The same endpoint as a service of its own, for axum's `Router::route_service`. It answers every path
            /// that leads to it, and methods other than `POST` with 405.
            #[must_use]
            pub fn into_service(self) -> $crate::layer::endpoint::Leaf {
                $crate::layer::endpoint::Leaf::new(self.endpoint)
            }
        }

        impl std::fmt::Debug for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($layer)).field("path", &self.endpoint.common.path).finish_non_exhaustive()
            }
        }

        impl<S> tower::Layer<S> for $layer {
            type Service = $crate::layer::endpoint::EndpointService<S>;

            fn layer(&self, inner: S) -> Self::Service {
                $crate::layer::endpoint::EndpointService::new(inner, std::sync::Arc::clone(&self.endpoint) as _)
            }
        }
    };
}

pub(crate) use endpoint_layer;
