//! JSON schemas of requests and responses for OpenAPI documents, and their examples.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::{
    AllOfBuilder, ArrayBuilder, ObjectBuilder, Ref, RefOr, Type,
    schema::{Schema, SchemaType},
};
use utoipa::{PartialSchema, ToSchema};

use crate::{Concert, MAX_PRICE, Money, NewConcert, NewPurchase, Page, concert, purchase};

type Schemas = Vec<(String, RefOr<Schema>)>;

/// Implements the traits by the type whose derived implementation has the fields of the JSON.
macro_rules! same_as {
    ($type:ty, $json:ty) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                <$json>::schema()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                <$json>::name()
            }

            fn schemas(schemas: &mut Schemas) {
                <$json>::schemas(schemas);
            }
        }
    };
}

same_as!(NewConcert, concert::Draft);
same_as!(Concert, concert::ConcertJson);
same_as!(NewPurchase, purchase::Draft);

impl PartialSchema for Page<Concert> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("`cursor` of the next page, or null on the last page."));
        ObjectBuilder::new()
            .description(Some("A page of concerts."))
            .property("items", ArrayBuilder::new().items(reference::<Concert>()))
            .property("next_cursor", cursor)
            .required("items")
            .required("next_cursor")
            .examples([json!({ "items": [concert()], "next_cursor": null })])
            .into()
    }
}

impl ToSchema for Page<Concert> {
    fn name() -> Cow<'static, str> {
        "ConcertPage".into()
    }

    fn schemas(schemas: &mut Schemas) {
        schemas.push((Concert::name().into(), Concert::schema()));
        Concert::schemas(schemas);
    }
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// Schema of a new concert's price, whose range is smaller than that of other amounts.
pub(crate) fn price() -> Schema {
    let amount = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(MAX_PRICE));
    AllOfBuilder::new()
        .item(reference::<Money>())
        .item(ObjectBuilder::new().property("amount", amount))
        .description(Some("Price of a ticket, at most 100,000,000 minor units."))
        .into()
}

pub(crate) fn new_concert() -> Value {
    json!({
        "title": "Radiohead, Berlin",
        "venue": "Uber Arena",
        "starts_at": "2030-01-01T20:00:00Z",
        "capacity": 17_000,
        "price": { "amount": 8_950, "currency": "EUR" },
    })
}

pub(crate) fn concert() -> Value {
    json!({
        "id": "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901",
        "slug": "radiohead-berlin",
        "title": "Radiohead, Berlin",
        "venue": "Uber Arena",
        "starts_at": "2030-01-01T20:00:00Z",
        "capacity": 17_000,
        "price": { "amount": 8_950, "currency": "EUR" },
        "max_per_buyer": null,
        "sold": 0,
        "available": 17_000,
    })
}

pub(crate) fn new_purchase() -> Value {
    json!({ "buyer": "Ada Lovelace", "quantity": 2 })
}

pub(crate) fn purchase() -> Value {
    json!({
        "id": "0192a7c4-6f00-7e4f-8d0b-52b1f0a1c333",
        "concert_id": "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901",
        "buyer": "Ada Lovelace",
        "quantity": 2,
        "total": { "amount": 17_900, "currency": "EUR" },
        "status": "paid",
        "created_at": "2029-06-01T09:00:00Z",
    })
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::{MAX_CAPACITY, MAX_QUANTITY, Purchase};

    fn check<T: DeserializeOwned + Serialize>(example: Value) {
        let parsed: T = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), example);
    }

    #[test]
    fn every_example_is_what_the_server_accepts_and_returns() {
        check::<NewConcert>(new_concert());
        check::<Concert>(concert());
        check::<NewPurchase>(new_purchase());
        check::<Purchase>(purchase());
    }

    #[test]
    fn the_limits_in_the_schemas_are_those_of_the_validation() {
        let schema = |schema| serde_json::to_value::<RefOr<Schema>>(schema).unwrap();
        let (concert, purchase) = (schema(NewConcert::schema()), schema(NewPurchase::schema()));
        for field in ["capacity", "max_per_buyer"] {
            let field = &concert["properties"][field];
            assert_eq!(field["maximum"], MAX_CAPACITY, "{field}");
        }
        assert_eq!(purchase["properties"]["quantity"]["maximum"], MAX_QUANTITY);
    }
}
