//! `/concerts`.

use std::str::FromStr;

use axum::Json as Answer;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};
use serde::Deserialize;
use ticket_core::{Concert, Cursor, MAX_PAGE, NewConcert, Page, Tickets};

use super::body::Json;
use super::problem::Problem;
use crate::guard::Authorized;

/// Concerts in a page, where the request does not say.
const PAGE: u32 = 20;

#[derive(Deserialize)]
pub(super) struct Paging {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Paging {
    fn limit(&self) -> Result<u32, Problem> {
        let Some(text) = &self.limit else {
            return Ok(PAGE);
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
            .map(|text| parsed("cursor", text))
            .transpose()
    }
}

/// `GET /concerts`
pub(super) async fn list(
    State(tickets): State<Tickets>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Answer<Page<Concert>>, Problem> {
    let Query(paging) = paging.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let page = tickets
        .list_concerts(paging.limit()?, paging.cursor()?)
        .await?;
    Ok(Answer(page))
}

/// `POST /concerts`
pub(super) async fn create(
    State(tickets): State<Tickets>,
    _: Authorized,
    Json(body): Json,
) -> Result<impl IntoResponse, Problem> {
    let concert = tickets
        .create_concert(NewConcert::from_json(&body)?)
        .await?;
    let location = [(header::LOCATION, format!("/concerts/{}", concert.id))];
    Ok((StatusCode::CREATED, location, Answer(concert)))
}

/// `GET /concerts/{concert_id}`
pub(super) async fn read(
    State(tickets): State<Tickets>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Answer<Concert>, Problem> {
    Ok(Answer(tickets.concert(path_id("concert_id", id)?).await?))
}

/// The id in a path.
pub(super) fn path_id<T>(name: &str, id: Result<Path<String>, PathRejection>) -> Result<T, Problem>
where
    T: FromStr<Err = ticket_core::Error>,
{
    let Path(text) = id.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    parsed(name, &text)
}

/// A value of the path or the query: what cannot be read is malformed, not invalid.
fn parsed<T: FromStr<Err = ticket_core::Error>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| match error {
        ticket_core::Error::Invalid { problem, .. } => Problem::malformed_field(name, problem),
        other => other.into(),
    })
}
