//! The pages. Every refusal is JSON with a reason.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value as JsonValue, json};

use crate::admin::catalog::{SCHEMA, TABLES, Table, Type, find};
use crate::admin::engine::ResultColumn;
use crate::admin::{Error, ResultSet, Value};

use super::Pages;

/// Rows of a table when the request does not say how many.
const LIMIT: u64 = 100;

const INDEX: &str = include_str!("index.html");

/// The route table.
pub fn routes(pages: Pages, request_max: Duration) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/api/tables", get(tables))
        .route("/api/{table}", get(rows))
        .fallback(unknown_page)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request, next| {
            bounded(request, next, request_max)
        }))
        .with_state(pages)
}

/// Ends a request that takes too long, and adds the headers that every answer has.
async fn bounded(request: Request, next: Next, request_max: Duration) -> Response {
    let mut response = match tokio::time::timeout(request_max, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long"),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
        ),
    );
    response
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

async fn unknown_page() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "no such page; there are /, /metrics, /healthz, /readyz, /api/tables and /api/<table>",
    )
}

async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET")
}

async fn index() -> Html<&'static str> {
    Html(INDEX)
}

async fn metrics(State(pages): State<Pages>) -> Response {
    // A scrape reads many snapshots: not on the threads that serve the others.
    match tokio::task::spawn_blocking(move || (pages.metrics)()).await {
        Ok(Ok(text)) => {
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (kind, text).into_response()
        }
        Ok(Err(reason)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be read",
        ),
    }
}

/// Alive: whoever answers is.
async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(pages): State<Pages>) -> Response {
    let checks = (pages.ready)();
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let checks: Vec<JsonValue> = checks
        .into_iter()
        .map(|check| json!({ "name": check.name, "ok": check.ok, "detail": check.detail }))
        .collect();
    (status, Json(json!({ "ready": ready, "checks": checks }))).into_response()
}

async fn tables() -> Json<JsonValue> {
    let tables: Vec<JsonValue> = TABLES
        .iter()
        .map(|table| {
            let columns: Vec<JsonValue> = table
                .columns
                .iter()
                .map(|column| {
                    json!({ "name": column.name, "type": column.kind.mysql(), "description": column.description })
                })
                .collect();
            json!({ "name": table.name, "description": table.description, "columns": columns })
        })
        .collect();
    Json(JsonValue::from(tables))
}

/// `/api/<table>?limit=&offset=&order=`: the rows as objects. `order` is a list of columns; `-column` is descending.
async fn rows(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Response {
    let Some(table) = find(SCHEMA, &name) else {
        return refusal(
            StatusCode::NOT_FOUND,
            "no such table; /api/tables lists them",
        );
    };
    let sql = match query {
        Ok(Query(query)) => select(table, &query),
        Err(rejection) => Err(rejection.body_text()),
    };
    let sql = match sql {
        Ok(sql) => sql,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason),
    };
    match pages.admin.query(&sql, Vec::new()).await {
        Ok(result) => Json(table_json(table, &result)).into_response(),
        Err(error) => {
            let status = match error {
                Error::TooManyRows(_) | Error::ResultTooLarge(_) => StatusCode::BAD_REQUEST,
                Error::Busy | Error::Timeout(_) | Error::OutOfMemory(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refusal(status, &error.to_string())
        }
    }
}

/// The SELECT for a request. Column names come from the catalog, numbers are parsed: nothing of the request is copied.
fn select(table: &Table, query: &HashMap<String, String>) -> Result<String, String> {
    let mut limit = LIMIT;
    let mut offset = 0;
    let mut order = Vec::new();
    for (key, value) in query {
        let number = || {
            value
                .parse::<u32>()
                .map(u64::from)
                .map_err(|_| format!("{key} must be a whole number from 0 on"))
        };
        match key.as_str() {
            "limit" => limit = number()?,
            "offset" => offset = number()?,
            "order" => {
                for part in value.split(',').filter(|part| !part.is_empty()) {
                    order.push(order_by(table, part)?);
                }
            }
            _ => {
                return Err(format!(
                    "'{key}' is not known here; there are limit, offset and order"
                ));
            }
        }
    }
    let order = if order.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", order.join(", "))
    };
    Ok(format!(
        "SELECT * FROM {SCHEMA}.{}{order} LIMIT {limit} OFFSET {offset}",
        table.name
    ))
}

fn order_by(table: &Table, part: &str) -> Result<String, String> {
    let (name, direction) = match part.strip_prefix('-') {
        Some(name) => (name, "DESC"),
        None => (part, "ASC"),
    };
    let column = table
        .columns
        .iter()
        .find(|column| column.name.eq_ignore_ascii_case(name));
    match column {
        Some(column) => Ok(format!("`{}` {direction}", column.name)),
        None => Err(format!("order: {} has no column '{name}'", table.name)),
    }
}

fn table_json(table: &Table, result: &ResultSet) -> JsonValue {
    let rows: Vec<JsonValue> = result
        .rows
        .iter()
        .map(|row| {
            let cells = result.columns.iter().zip(row);
            JsonValue::Object(
                cells
                    .map(|(column, value)| (column.name.clone(), cell(column, value)))
                    .collect::<Map<_, _>>(),
            )
        })
        .collect();
    json!({ "table": table.name, "rows": rows })
}

fn cell(column: &ResultColumn, value: &Value) -> JsonValue {
    match value {
        Value::Null => JsonValue::Null,
        Value::Int(number) if column.kind == Type::Bool => JsonValue::Bool(*number != 0),
        Value::Int(number) => JsonValue::from(*number),
        Value::Real(number) => JsonValue::from(*number),
        Value::Text(text) => JsonValue::from(text.as_ref()),
    }
}
