//! The routes behind the token endpoint, and their description for machines and for people.

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::rejection::JsonRejection,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tower_oauth2_password::{
    AccessToken, BearerLayer, InvalidScope, TokenEndpointLayer, TokenValidator, store::DenyList,
};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

pub(crate) fn router(validator: impl TokenValidator, deny_list: impl DenyList) -> Result<Router, InvalidScope> {
    let guard = BearerLayer::new(validator).with_deny_list(deny_list);
    let read = guard.clone().with_required_scope("items:read")?;
    let write = guard.clone().with_required_scope("items:write")?;
    Ok(Router::new()
        .route("/", get(index))
        .route("/echo", post(echo))
        .route("/users/me", get(me).layer(guard))
        .route("/items", get(items).layer(read).merge(post(add_item).layer(write))))
}

pub(crate) fn docs(token_endpoint: &TokenEndpointLayer) -> SwaggerUi {
    let scopes = [("items:read", "Read items"), ("items:write", "Add items")];
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("password", token_endpoint.security_scheme(scopes));
    SwaggerUi::new("/docs").url("/openapi.json", document)
}

#[derive(OpenApi)]
#[openapi(info(title = "tower-oauth2-password: example server"), paths(index, me, items, add_item))]
struct Document;

/// A line of text.
#[utoipa::path(get, path = "/", responses((status = 200, content_type = "text/plain", body = String)))]
async fn index() -> &'static str {
    "Log in at POST /token, or try /docs\n"
}

async fn echo(headers: HeaderMap, body: Body) -> Response {
    let content_type = headers.get(CONTENT_TYPE).cloned();
    (content_type.map(|value| [(CONTENT_TYPE, value)]), body).into_response()
}

/// Who is logged in.
#[utoipa::path(get, path = "/users/me", security(("password" = [])),
    responses((status = 200, body = Value), (status = 401, description = "No token, or a bad one")))]
async fn me(Extension(token): Extension<AccessToken>) -> Json<Value> {
    Json(json!({ "username": token.subject(), "scope": token.scope().as_str() }))
}

/// All items.
#[utoipa::path(get, path = "/items", security(("password" = ["items:read"])),
    responses((status = 200, body = Vec<Value>), (status = 403, description = "The scope items:read is missing")))]
async fn items() -> Json<Value> {
    Json(json!([{ "name": "looking-glass" }, { "name": "teapot" }]))
}

/// Adds an item (and forgets it).
#[utoipa::path(post, path = "/items", security(("password" = ["items:write"])), request_body = Value,
    responses((status = 201, body = Value), (status = 403, description = "The scope items:write is missing")))]
async fn add_item(item: Result<Json<Map<String, Value>>, JsonRejection>) -> Response {
    match item {
        Ok(item) => (StatusCode::CREATED, item).into_response(),
        Err(error) => (error.status(), Json(json!({ "error": "a JSON object is expected" }))).into_response(),
    }
}
