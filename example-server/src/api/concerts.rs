//! Handlers of `/concerts`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::IntoResponse;
use http::request::Parts;
use http::{StatusCode, header};
use ticket_core::{Concert, Cursor, MAX_PAGE, NewConcert, Page, Tickets};
use utoipa::IntoParams;

use super::openapi::responses::{Failures, Forbidden, Invalid, NotFound, NotJson, Unauthorized};
use super::parameter::{parse, path_id};
use crate::body::JsonBody;
use crate::guard::Authorized;
use crate::problem::Problem;

/// Default number of concerts on a page.
const DEFAULT_LIMIT: u32 = 20;

type ConcertPage = Page<Concert>;

/// Query parameters of a list.
#[derive(Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Maximum number of concerts on the page.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 100, default = json!(DEFAULT_LIMIT))]
    limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[0-9a-f]{32}$")]
    cursor: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    /// Ignores unknown parameters.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::malformed(rejection.body_text()))?;
        let mut paging = Self::default();
        for (name, value) in parameters {
            let slot = match &*name {
                "limit" => &mut paging.limit,
                "cursor" => &mut paging.cursor,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                let detail = "the parameter occurs more than once";
                return Err(Problem::malformed_field(&name, detail));
            }
        }
        Ok(paging)
    }
}

impl Paging {
    fn limit(&self) -> Result<u32, Problem> {
        let Some(text) = &self.limit else {
            return Ok(DEFAULT_LIMIT);
        };
        let expected = format!("expected an integer from 1 to {MAX_PAGE}");
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let detail = format!("{text:?} is not an integer, {expected}");
            return Err(Problem::malformed_field("limit", detail));
        }
        // An integer that does not fit is out of range as well.
        let limit = text.parse().ok();
        limit
            .filter(|limit| (1..=MAX_PAGE).contains(limit))
            .ok_or_else(|| Problem::invalid("limit", format!("{text} is out of range, {expected}")))
    }

    fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        self.cursor
            .as_deref()
            .map(|text| parse("cursor", text))
            .transpose()
    }
}

/// `GET /concerts`
#[utoipa::path(
    get,
    path = "/concerts",
    tag = "concerts",
    operation_id = "listConcerts",
    summary = "List concerts",
    description = "Concerts in order of creation, one page at a time.",
    params(Paging),
    responses(
        (status = 200, description = "A page of concerts.", body = ConcertPage),
        Invalid,
        Failures,
    ),
)]
pub(super) async fn list(
    State(tickets): State<Tickets>,
    paging: Paging,
) -> Result<Json<ConcertPage>, Problem> {
    let page = tickets
        .list_concerts(paging.limit()?, paging.cursor()?)
        .await?;
    Ok(Json(page))
}

/// `POST /concerts`
#[utoipa::path(
    post,
    path = "/concerts",
    tag = "concerts",
    operation_id = "createConcert",
    summary = "Create a concert",
    description = "Requires the admin token if the server has one. Otherwise, requires that the server listens on loopback addresses only, and a `Host` header with `localhost` or an IP address.",
    security((), ("token" = [])),
    request_body = NewConcert,
    responses(
        (
            status = 201,
            description = "The concert was created.",
            body = Concert,
            headers(("Location" = String, description = "URL of the concert.")),
        ),
        Unauthorized,
        Forbidden,
        NotJson,
        Invalid,
        Failures,
    ),
)]
pub(super) async fn create(
    State(tickets): State<Tickets>,
    _: Authorized,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let concert = tickets
        .create_concert(NewConcert::from_json(&body)?)
        .await?;
    let location = [(header::LOCATION, format!("/concerts/{}", concert.id))];
    Ok((StatusCode::CREATED, location, Json(concert)))
}

/// `GET /concerts/{concert_id}`
#[utoipa::path(
    get,
    path = "/concerts/{concert_id}",
    tag = "concerts",
    operation_id = "readConcert",
    summary = "Read a concert",
    params(("concert_id" = String, Path, format = "uuid", description = "ID of the concert.")),
    responses(
        (status = 200, description = "The concert.", body = Concert),
        NotFound,
        Failures,
    ),
)]
pub(super) async fn read(
    State(tickets): State<Tickets>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Concert>, Problem> {
    Ok(Json(tickets.concert(path_id("concert_id", id)?).await?))
}
