//! Handlers of `/concerts/{concert_id}/purchases` and `/purchases`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{AppendHeaders, IntoResponse};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode, header};
use ticket_core::{IdempotencyKey, NewPurchase, Purchase, Tickets};
use utoipa::IntoParams;

use super::openapi::responses::{Conflict, Failures, Invalid, NotFound, NotJson, PaymentDeclined};
use super::parameter::path_id;
use crate::body::JsonBody;
use crate::problem::Problem;

/// Headers of a purchase.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct Headers {
    /// Key chosen by the client, such as a UUID.
    #[param(rename = "Idempotency-Key", value_type = String, required = false)]
    #[param(min_length = 1, max_length = 255, pattern = "^[ -~]+$")]
    idempotency_key: Option<IdempotencyKey>,
}

impl<S: Sync> FromRequestParts<S> for Headers {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let idempotency_key = idempotency_key(&parts.headers)?;
        Ok(Self { idempotency_key })
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `POST /concerts/{concert_id}/purchases`
#[utoipa::path(
    post,
    path = "/concerts/{concert_id}/purchases",
    tag = "purchases",
    operation_id = "buyTickets",
    summary = "Buy tickets",
    description = "The purchase is durable before the response is sent. A request with an `Idempotency-Key` can be repeated safely: tickets are bought once, and a repeated request returns the first purchase with `Idempotency-Replayed: true`. Keys are scoped to a concert. An attempt that fails, for example because the payment is declined, does not use up the key.",
    params(
        ("concert_id" = String, Path, format = "uuid", description = "ID of the concert."),
        Headers,
    ),
    request_body = NewPurchase,
    responses(
        (
            status = 201,
            description = "The purchase.",
            body = Purchase,
            headers(
                ("Location" = String, description = "URL of the purchase."),
                ("Idempotency-Replayed" = bool, description = "Present and `true` if the key was already used for this purchase."),
            ),
        ),
        PaymentDeclined,
        NotFound,
        Conflict,
        NotJson,
        Invalid,
        Failures,
    ),
)]
pub(super) async fn create(
    State(tickets): State<Tickets>,
    concert: Result<Path<String>, PathRejection>,
    headers: Headers,
    JsonBody(body): JsonBody,
) -> Result<impl IntoResponse, Problem> {
    let concert = path_id("concert_id", concert)?;
    let new = NewPurchase::from_json(&body)?;
    let purchased = tickets
        .purchase(concert, new, headers.idempotency_key)
        .await?;
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
#[utoipa::path(
    get,
    path = "/purchases/{purchase_id}",
    tag = "purchases",
    operation_id = "readPurchase",
    summary = "Read a purchase",
    params(("purchase_id" = String, Path, format = "uuid", description = "ID of the purchase.")),
    responses(
        (status = 200, description = "The purchase.", body = Purchase),
        NotFound,
        Failures,
    ),
)]
pub(super) async fn read(
    State(tickets): State<Tickets>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Purchase>, Problem> {
    Ok(Json(
        tickets.read_purchase(path_id("purchase_id", id)?).await?,
    ))
}

/// `DELETE /purchases/{purchase_id}`: refunds the purchase. Idempotent.
#[utoipa::path(
    delete,
    path = "/purchases/{purchase_id}",
    tag = "purchases",
    operation_id = "refundPurchase",
    summary = "Refund a purchase",
    description = "Makes the tickets available again. Idempotent: a second refund returns the refunded purchase.",
    params(("purchase_id" = String, Path, format = "uuid", description = "ID of the purchase.")),
    responses(
        (status = 200, description = "The refunded purchase.", body = Purchase),
        NotFound,
        Failures,
    ),
)]
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
