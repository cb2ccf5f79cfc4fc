//! Handlers of `/concerts/{concert_id}/purchases` and `/purchases`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse};
use http::{HeaderMap, HeaderName, StatusCode, header};
use ticket_core::{IdempotencyKey, NewPurchase, Purchase, Tickets};

use super::concerts::path_id;
use crate::body::JsonBody;
use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /concerts/{concert_id}/purchases`
pub(super) async fn create(
    State(tickets): State<Tickets>,
    concert: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let concert = path_id("concert_id", concert)?;
    let key = idempotency_key(&headers)?;
    let new = NewPurchase::from_json(&body)?;
    let purchased = tickets.purchase(concert, new, key).await?;
    let location = format!("/purchases/{}", purchased.purchase.id);
    let replayed = purchased.replayed.then_some((IDEMPOTENCY_REPLAYED, "true"));
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        AppendHeaders(replayed),
        Json(purchased.purchase),
    ))
}

/// `GET /purchases/{purchase_id}`
pub(super) async fn read(
    State(tickets): State<Tickets>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Purchase>, Problem> {
    Ok(Json(
        tickets.read_purchase(path_id("purchase_id", id)?).await?,
    ))
}

/// `DELETE /purchases/{purchase_id}`: refunds the purchase. Idempotent.
pub(super) async fn refund(
    State(tickets): State<Tickets>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Purchase>, Problem> {
    Ok(Json(tickets.refund(path_id("purchase_id", id)?).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed_field(
            "idempotency-key",
            "the header occurs more than once",
        ));
    }
    let text = value.to_str().map_err(|_| {
        Problem::malformed_field("idempotency-key", "expected printable ASCII characters")
    })?;
    Ok(Some(text.parse::<IdempotencyKey>()?))
}
