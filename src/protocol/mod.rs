//! What OAuth says: headers and a form in, a response or an error out. No tower, no clock, no I/O of its own.
//!
//! A request to an endpoint passes these checks in this order, the cheap ones first. The first that fails ends it.
//!
//! 1. The path and the method (`layer`). Every other request passes through.
//! 2. HTTPS, if the server requires it (RFC 6749, section 3.2).
//! 3. No credentials in the query string (RFC 6749, section 2.3.1).
//! 4. The declared length, and the media type (`application/x-www-form-urlencoded`).
//! 5. The body, within its limit and its deadline (`layer`).
//! 6. The form: UTF-8, and each known parameter at most once (RFC 6749, section 3.2).
//! 7. The grant type, its parameters, and their characters (RFC 6749, sections 4.3.2 and 6, appendix A).
//! 8. The client, if the request names one (RFC 6749, sections 2.3 and 3.2.1). A wrong client is rejected before the
//!    password is looked at, or it could guess passwords without a limit. If it keeps its session in a cookie: the request
//!    comes from an allowed page (`origin`).
//! 9. The scope is well-formed (RFC 6749, section 3.3).
//! 10. The account has attempts left (RFC 6749, section 4.3.2).
//! 11. **The password**, by the verifier: the one expensive step.
//! 12. The outcome of the attempt is settled. Only then is anything created.
//! 13. The scope is allowed for the user. Only a correct password reveals this.
//! 14. The access token; the end of the session in the client's cookie, if there is one; the refresh token; the response.
//!
//! A login with a second factor ends at 13 with a 403 and an `mfa_token`. The second step has other steps from 9 on: the
//! `mfa_token` exists and belongs to the client; the scope is no wider than at first; the verifier still knows the user; the
//! scope is allowed for the user; the user has codes left; **the code**; the `mfa_token` is used up; then 14.
//!
//! A refresh has other steps from 10 on: the family exists, belongs to the client, and the token is its current one; the
//! verifier still knows the user; the scope is a subset of what was granted; the access token is issued; the refresh token
//! is rotated.

pub(crate) mod ask;
pub(crate) mod bearer;
pub(crate) mod client;
pub(crate) mod client_policy;
pub(crate) mod cookie;
pub(crate) mod extension_grant;
pub(crate) mod form;
pub(crate) mod grant;
mod grpc;
pub(crate) mod introspection;
pub(crate) mod metadata;
pub(crate) mod origin;
pub(crate) mod refresh_token;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod revocation;
pub(crate) mod second_factor;
pub(crate) mod session;
pub(crate) mod step_up;
