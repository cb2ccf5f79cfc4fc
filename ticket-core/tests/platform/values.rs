//! Every accepted value of a request survives the store.

use jiff::Timestamp;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use ticket_core::{Error, IdempotencyKey, NewConcert, NewPurchase};

use crate::platforms;

/// Text with letters, marks, white space and characters that are rejected.
fn text(max: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => prop::char::range('a', 'z'),
        2 => any::<char>(),
        1 => prop::sample::select(vec![
            ' ', '\u{a0}', '\u{301}', '\u{308}', '\u{212b}', '\u{1100}', '\u{1161}', '\u{200b}', '\0',
            '\'', '"', '\\', '\u{10ffff}',
        ]),
    ];
    prop::collection::vec(character, 1..max).prop_map(|chars| chars.into_iter().collect())
}

/// Times in many notations, within and outside the accepted range.
fn time() -> impl Strategy<Value = String> {
    let within = 946_684_800..253_370_764_800_i64;
    let beyond = -377_705_023_201..=253_402_207_200_i64;
    (
        prop_oneof![4 => within, 1 => beyond],
        0..1_000_000_000,
        0..4_usize,
    )
        .prop_filter_map("not a timestamp", |(second, nanosecond, notation)| {
            let time = Timestamp::new(second, nanosecond).ok()?;
            Some(match notation {
                0 => time.to_string(),
                1 => format!("{time:.0}"),
                2 => time.to_string().replace('Z', "+00:00"),
                _ => time.to_string().replace('T', " "),
            })
        })
}

fn concert() -> impl Strategy<Value = Value> {
    (
        text(30),
        text(30),
        time(),
        prop::option::weighted(0.3, time()),
        prop::option::weighted(0.3, time()),
        prop_oneof![1..=10_000_000_i64, any::<i64>()],
        prop_oneof![0..=100_000_000_i64, any::<i64>()],
        prop::sample::select(vec!["EUR", "JPY", "KWD", "CLF", "eur"]),
        prop::option::of(prop_oneof![1..=10_000_000_i64, any::<i64>()]),
    )
        .prop_map(
            |(title, venue, starts_at, from, until, capacity, amount, currency, limit)| {
                let mut concert = json!({
                    "title": title, "venue": venue, "starts_at": starts_at, "capacity": capacity,
                    "price": {"amount": amount, "currency": currency}, "max_per_buyer": limit,
                });
                for (field, time) in [("on_sale_from", from), ("on_sale_until", until)] {
                    if let Some(time) = time {
                        concert[field] = time.into();
                    }
                }
                concert
            },
        )
}

/// Asserts that an error names the field and what is allowed, in the API's terms.
fn assert_clear(error: &Error) {
    let text = error.to_string();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(text.contains("allowed"), "{text}");
    for internal in ["jiff", "i64", "Timestamp", "parameter"] {
        assert!(!text.contains(internal), "{text}");
    }
    assert!(text.len() < 500, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_concert_is_read_as_it_was_created() {
    let platforms = platforms().await;
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config {
            cases: 200,
            failure_persistence: None,
            ..Config::default()
        });
        runner
            .run(&concert(), |json| {
                let new = match NewConcert::from_json(json.to_string().as_bytes()) {
                    Ok(new) => new,
                    Err(error) => {
                        assert_clear(&error);
                        return Ok(());
                    }
                };
                // Its own JSON is accepted and means the same.
                let again = serde_json::to_vec(&new).unwrap();
                assert_eq!(NewConcert::from_json(&again).unwrap(), new);
                for platform in platforms.iter().take(2) {
                    handle.block_on(async {
                        let tickets = &platform.tickets;
                        let created = tickets.create_concert(new.clone()).await.unwrap();
                        let read = tickets.concert(created.id).await.unwrap();
                        assert_eq!(read, created, "{}", platform.name);
                        assert_eq!(read.title, new.title());
                    });
                }
                Ok(())
            })
            .unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_purchase_is_read_as_it_was_made() {
    let platforms = platforms().await;
    let handle = tokio::runtime::Handle::current();
    let values = (
        text(30),
        prop_oneof![4 => 1..=10_i64, 1 => any::<i64>()],
        prop::option::of("[ -~]{1,255}"),
    );
    tokio::task::spawn_blocking(move || {
        let concerts: Vec<_> = platforms
            .iter()
            .take(2)
            .map(|platform| handle.block_on(platform.concert(10_000_000)))
            .collect();
        let mut runner = TestRunner::new(Config {
            cases: 200,
            failure_persistence: None,
            ..Config::default()
        });
        runner
            .run(&values, |(buyer, quantity, key)| {
                let json = json!({"buyer": buyer, "quantity": quantity}).to_string();
                let new = match NewPurchase::from_json(json.as_bytes()) {
                    Ok(new) => new,
                    Err(error) => {
                        assert_clear(&error);
                        return Ok(());
                    }
                };
                for (platform, concert) in platforms.iter().zip(&concerts) {
                    handle.block_on(async {
                        let tickets = &platform.tickets;
                        let key = key
                            .as_ref()
                            .map(|key| key.parse::<IdempotencyKey>().unwrap());
                        let bought = tickets
                            .purchase(concert.id, new.clone(), key.clone())
                            .await
                            .unwrap();
                        let read = tickets.read_purchase(bought.purchase.id).await.unwrap();
                        assert_eq!(read, bought.purchase, "{}", platform.name);
                        assert_eq!(read.buyer, new.buyer());
                        if key.is_some() {
                            let again = tickets.purchase(concert.id, new.clone(), key).await;
                            assert!(again.unwrap().replayed, "{}", platform.name);
                        }
                    });
                }
                Ok(())
            })
            .unwrap();
    })
    .await
    .unwrap();
}

#[test]
fn times_within_the_limits_are_accepted_and_others_are_rejected_with_the_limits() {
    let parse = |starts_at: &str| {
        let json = json!({
            "title": "Radiohead", "venue": "Arena", "starts_at": starts_at, "capacity": 1,
            "price": {"amount": 1, "currency": "EUR"},
        });
        NewConcert::from_json(json.to_string().as_bytes())
    };
    for time in [
        "2000-01-01T00:00:00Z",
        "9998-12-31T23:59:59.999999Z",
        "2030-01-01T20:00:00+02:00",
    ] {
        parse(time).unwrap();
    }
    for time in [
        "9999-12-30T22:00:00.999999Z",
        "9999-12-31T23:59:59Z",
        "-009999-01-02T01:59:59Z",
        "1999-12-31T23:59:59.999999Z",
        "2030-01-01T20:00:00",
        "2030-02-30T20:00:00Z",
        "2030-01-01T20:00:00+05:00[Europe/Berlin]",
        "2030-01-01T20:00:00Z[UTC]",
        "tomorrow",
        "",
    ] {
        let error = parse(time).unwrap_err();
        assert_clear(&error);
        let text = error.to_string();
        assert!(text.starts_with("starts_at: "), "{text}");
        assert!(text.contains("9998-12-31T23:59:59.999999Z"), "{text}");
    }
}
