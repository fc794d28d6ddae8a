//! The routes behind the token endpoint, and their description for machines and for people.

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::rejection::JsonRejection,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use swagger_ui_dist::{ApiDefinition, OpenApiSource::Uri, generate_routes};
use tower_oauth2_password::{AccessToken, AuthorizationServer, RequiredScope};
use utoipa::{OpenApi, ToSchema};

const READ: RequiredScope = RequiredScope::all_of("items:read");
const WRITE: RequiredScope = RequiredScope::all_of("items:write");

pub(crate) fn router(auth: &AuthorizationServer) -> Router {
    let [read, write] = [READ, WRITE].map(|scope| auth.guard().with_required_scope(scope));
    let mut document = Document::openapi();
    document.paths.merge(auth.openapi_paths());
    let scheme = auth.security_scheme([("items:read", "Read items"), ("items:write", "Add items")]);
    document.components.get_or_insert_default().add_security_scheme("password", scheme);
    let assets = ApiDefinition { uri_prefix: "/swagger-ui", api_definition: Uri("/openapi.json"), title: None };
    Router::new()
        .route("/", get(index))
        .route("/echo", post(echo))
        .route("/users/me", get(me).layer(auth.guard()))
        .route("/items", get(items).layer(read).merge(post(add_item).layer(write)))
        .route("/docs", get(Html(include_str!("docs.html"))))
        .route("/openapi.json", get(Json(document)))
        .merge(generate_routes(assets))
        .layer(auth.endpoints())
}

#[derive(OpenApi)]
#[openapi(info(title = "tower-oauth2-password: example server"), paths(me, items, add_item))]
struct Document;

#[derive(Serialize, ToSchema)]
struct User {
    username: String,
    scope: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
struct Item {
    name: String,
    #[serde(flatten)] // also makes an array no item
    more: std::collections::BTreeMap<String, serde_json::Value>,
}

async fn index() -> &'static str {
    "Log in at POST /token, or try /docs\n"
}

async fn echo(headers: HeaderMap, body: Body) -> Response {
    (headers.get(CONTENT_TYPE).map(|value| [(CONTENT_TYPE, value.clone())]), body).into_response()
}

/// The user who is logged in.
#[utoipa::path(get, path = "/users/me", security(("password" = [])),
    responses((status = 200, body = User), (status = 401, description = "No token, or an invalid one")))]
async fn me(Extension(token): Extension<AccessToken>) -> Json<User> {
    Json(User { username: token.subject().to_owned(), scope: token.scope().to_string() })
}

/// All items.
#[utoipa::path(get, path = "/items", security(("password" = ["items:read"])),
    responses((status = 200, body = Vec<Item>), (status = 403, description = "The scope items:read is missing")))]
async fn items() -> Json<[Item; 2]> {
    Json(["looking-glass", "teapot"].map(|name| Item { name: name.to_owned(), more: Default::default() }))
}

/// Adds an item (and forgets it).
#[utoipa::path(post, path = "/items", security(("password" = ["items:write"])), request_body = Item,
    responses((status = 201, body = Item), (status = 403, description = "The scope items:write is missing")))]
async fn add_item(item: Result<Json<Item>, JsonRejection>) -> Result<(StatusCode, Json<Item>), impl IntoResponse> {
    item.map(|item| (StatusCode::CREATED, item))
        .map_err(|error| (error.status(), Json(serde_json::json!({ "error": error.body_text() }))))
}
