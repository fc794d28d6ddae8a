//! The `oauth2` crate as a client.

use oauth2::{
    AuthType, ClientId, ClientSecret, EmptyExtraTokenFields, RefreshToken, RequestTokenError, ResourceOwnerPassword,
    ResourceOwnerUsername, RevocationUrl, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse,
    TokenUrl,
    basic::{BasicClient, BasicErrorResponseType, BasicTokenType},
    reqwest::{Client, redirect::Policy},
};

use crate::client::{get, post, refresh};
use test_support::example::Example;

type Reply = StandardTokenResponse<EmptyExtraTokenFields, BasicTokenType>;

#[tokio::test]
async fn both_ways_of_client_authentication_work() {
    let server = Example::start("server", &[]);
    let http = Client::builder().redirect(Policy::none()).build().unwrap();
    let (alice, password) =
        (ResourceOwnerUsername::new("alice".into()), ResourceOwnerPassword::new("wonderland123".into()));
    for auth_type in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = BasicClient::new(ClientId::new("demo-web".into()))
            .set_client_secret(ClientSecret::new("demo-web-secret".into()))
            .set_auth_type(auth_type)
            .set_token_uri(TokenUrl::new(format!("{}/token", server.url())).unwrap())
            .set_revocation_url(RevocationUrl::new(format!("{}/revoke", server.url())).unwrap());

        let login: Reply = client.exchange_password(&alice, &password).request_async(&http).await.unwrap();
        assert_eq!(login.expires_in().unwrap().as_secs(), 900);
        assert_eq!(login.scopes().unwrap().len(), 2);
        assert_eq!(get(&server, "/users/me", login.access_token().secret()).await.status, 200);

        let narrow = client.exchange_password(&alice, &password).add_scope(Scope::new("items:read".into()));
        let narrow: Reply = narrow.request_async(&http).await.unwrap();
        assert_eq!(narrow.scopes().unwrap(), &vec![Scope::new("items:read".into())]);

        let wrong = ResourceOwnerPassword::new("wrong".into());
        let error = client.exchange_password(&alice, &wrong).request_async(&http).await.unwrap_err();
        let RequestTokenError::ServerResponse(error) = error else { panic!("{error:?}") };
        assert_eq!(error.error(), &BasicErrorResponseType::InvalidGrant);
        assert_eq!(error.error_description().unwrap(), "Incorrect username or password");

        let admin = client.exchange_password(&alice, &password).add_scope(Scope::new("admin".into()));
        let error = admin.request_async(&http).await.unwrap_err();
        let RequestTokenError::ServerResponse(error) = error else { panic!("{error:?}") };
        assert_eq!(error.error(), &BasicErrorResponseType::InvalidScope);

        let next: Reply =
            client.exchange_refresh_token(login.refresh_token().unwrap()).request_async(&http).await.unwrap();
        let spent = client.exchange_refresh_token(login.refresh_token().unwrap()).request_async(&http).await;
        assert!(matches!(spent, Err(RequestTokenError::ServerResponse(_))));
        let ended: &RefreshToken = next.refresh_token().unwrap();
        assert_eq!(refresh(&server, ended.secret()).await.status, 400);

        let other: Reply = client.exchange_password(&alice, &password).request_async(&http).await.unwrap();
        let token = StandardRevocableToken::from(other.refresh_token().unwrap().clone());
        // The crate refuses to revoke over plain HTTP, as RFC 7009 requires. Here the token never leaves this machine.
        assert!(client.revoke_token(token).is_err());
        let form = format!(
            "token={}&client_id=demo-web&client_secret=demo-web-secret",
            other.refresh_token().unwrap().secret()
        );
        assert_eq!(post(&server, "/revoke", &form).await.status, 200);
        let revoked = client.exchange_refresh_token(other.refresh_token().unwrap()).request_async(&http).await;
        assert!(matches!(revoked, Err(RequestTokenError::ServerResponse(_))));
    }
}
