use std::collections::HashSet;

use ticket_core::{
    Concert, Cursor, Error, MAX_CAPACITY, NewConcert, NewPurchase, Options, Tickets,
    policy::{Document, Faults},
};

use crate::{at, euros, new_concert, platforms, platforms_with};

#[tokio::test]
async fn a_concert_is_read_back_as_it_was_created() {
    for platform in platforms().await {
        let new = new_concert(20_000)
            .on_sale(
                Some(at("2026-01-01T08:00:00Z")),
                Some(at("2099-12-31T23:59:59.123456Z")),
            )
            .unwrap()
            .max_per_buyer(4)
            .unwrap();
        let created = platform.tickets.create_concert(new).await.unwrap();
        assert_eq!(platform.tickets.concert(created.id).await.unwrap(), created);
        let page = platform.tickets.list_concerts(10, None).await.unwrap();
        assert_eq!(page.items, [created]);
        assert_eq!(page.next_cursor, None);
    }
}

#[tokio::test]
async fn slugs_of_concurrently_created_concerts_are_unique() {
    for platform in platforms().await {
        let created: Vec<Concert> =
            futures_util::future::join_all((0..30).map(|_| platform.concert(1))).await;
        let slugs: HashSet<_> = created.iter().map(|concert| &*concert.slug).collect();
        assert_eq!(slugs.len(), 30, "{}", platform.name);
        assert!(slugs.contains("radiohead") && slugs.contains("radiohead-2"));
    }
}

#[tokio::test]
async fn pages_list_every_concert_once_including_concurrently_added_ones() {
    for platform in platforms().await {
        let mut expected = Vec::new();
        for _ in 0..7 {
            expected.push(platform.concert(1).await.id);
        }
        let mut listed = Vec::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = platform.tickets.list_concerts(3, cursor).await.unwrap();
            listed.extend(page.items.iter().map(|concert| concert.id));
            if listed.len() == 3 {
                expected.push(platform.concert(1).await.id);
            }
            let Some(next) = page.next_cursor else { break };
            // Clients pass the cursor as text.
            cursor = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(listed, expected, "{}", platform.name);
    }
}

#[tokio::test]
async fn the_size_of_a_page_is_limited() {
    let platform = platforms().await.remove(0);
    for limit in [0, 101] {
        let error = platform
            .tickets
            .list_concerts(limit, None)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("limit: {limit} is not allowed: expected an integer from 1 to 100")
        );
    }
}

#[tokio::test]
async fn tickets_can_be_added_up_to_the_maximum_capacity() {
    for platform in platforms().await {
        let concert = platform.concert(1).await;
        platform.buy(&concert, 1).await.unwrap();
        let restocked = platform.tickets.restock(concert.id, 5).await.unwrap();
        assert_eq!((restocked.capacity, restocked.available()), (6, 5));
        platform.buy(&concert, 5).await.unwrap();
        let restocked = platform
            .tickets
            .restock(concert.id, u32::MAX)
            .await
            .unwrap();
        assert_eq!(restocked.capacity, MAX_CAPACITY);
        let stock = platform.tickets.stock().await.unwrap();
        assert_eq!((stock[0].sold, stock[0].available()), (6, MAX_CAPACITY - 6));
    }
}

#[tokio::test]
async fn stock_is_read_of_given_concerts_of_best_sellers_and_in_sum() {
    for platform in platforms().await {
        let mut concerts = Vec::new();
        for sold in [1, 4, 2] {
            let concert = platform.concert(5).await;
            platform.buy(&concert, sold).await.unwrap();
            concerts.push(concert);
        }
        let tickets = &platform.tickets;
        let unknown = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901".parse().unwrap();
        let ids = [concerts[0].id, unknown, concerts[2].id];
        let mut sold: Vec<_> = tickets.stock_of(&ids).await.unwrap();
        sold.sort_by_key(|stock| stock.sold);
        let sold: Vec<_> = sold
            .iter()
            .map(|stock| (stock.concert_id, stock.sold))
            .collect();
        assert_eq!(sold, [(concerts[0].id, 1), (concerts[2].id, 2)]);
        assert!(tickets.stock_of(&[]).await.unwrap().is_empty());
        let best = tickets.best_sellers(2).await.unwrap();
        let best: Vec<_> = best.iter().map(|stock| stock.sold).collect();
        assert_eq!(best, [4, 2], "{}", platform.name);
        let sums = tickets.stock_sums().await.unwrap();
        assert_eq!((sums.concerts, sums.capacity, sums.sold), (3, 15, 7));
        assert_eq!(sums.available(), 8);
    }
}

#[tokio::test]
async fn resetting_the_sales_of_a_concert_does_not_affect_other_concerts() {
    for platform in platforms().await {
        let (concert, other) = (platform.concert(5).await, platform.concert(5).await);
        let bought = platform.buy(&concert, 3).await.unwrap();
        platform.buy(&other, 2).await.unwrap();
        let next = platform.tickets.reset_sales(concert.id).await.unwrap();
        assert_eq!((next.capacity, next.available()), (5, 5));
        let gone = platform.tickets.read_purchase(bought.purchase.id).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })));
        platform.buy(&concert, 5).await.unwrap();
        let totals = platform.tickets.totals().await.unwrap();
        assert!(totals.balance());
        let sold: Vec<_> = totals.concerts.iter().map(|line| line.tickets).collect();
        assert_eq!(sold, [5, 2]);
        let unknown = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901".parse().unwrap();
        let missing = platform.tickets.reset_sales(unknown).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    }
}

#[tokio::test]
async fn servers_on_one_postgresql_see_each_other() {
    for platform in platforms().await {
        if platform.url.starts_with("sqlite") {
            assert_eq!(platform.tickets.servers().await.unwrap(), None);
            continue;
        }
        assert_eq!(platform.tickets.servers().await.unwrap(), Some(1));
        let other = Tickets::open(&platform.url, Options::default()).await;
        let other = other.unwrap();
        assert_eq!(platform.tickets.servers().await.unwrap(), Some(2));
        other.close().await;
    }
}

#[test]
fn an_invalid_concert_cannot_be_built() {
    let valid = serde_json::json!({
        "title": "Radiohead", "venue": "Arena", "starts_at": "2030-01-01T20:00:00Z",
        "capacity": 20000, "price": {"amount": 6500, "currency": "EUR"}, "max_per_buyer": null
    });
    NewConcert::from_json(valid.to_string().as_bytes()).unwrap();
    for (pointer, value, message) in [
        (
            "/title",
            serde_json::json!(" "),
            "title: 0 characters are not allowed: expected 1 to 200",
        ),
        (
            "/venue",
            serde_json::json!("a\nb"),
            "venue: the character U+000A is not allowed: control characters, format characters and \
             other invisible characters are refused",
        ),
        (
            "/capacity",
            0.into(),
            "capacity: 0 is not allowed: expected an integer from 1 to 10000000",
        ),
        (
            "/capacity",
            10_000_001.into(),
            "capacity: 10000001 is not allowed: expected an integer from 1 to 10000000",
        ),
        (
            "/capacity",
            serde_json::json!("many"),
            "capacity: invalid type: string \"many\", expected an integer",
        ),
        (
            "/price/amount",
            (-1).into(),
            "price.amount: -1 is not allowed: expected 0 to 100000000",
        ),
        (
            "/price/amount",
            serde_json::json!(65.5),
            "price.amount: invalid type: floating point `65.5`, expected an integer",
        ),
        (
            "/price/currency",
            serde_json::json!("eur"),
            "price.currency: \"eur\" is not allowed: expected an ISO 4217 code in capitals, such as \"EUR\"",
        ),
        (
            "/max_per_buyer",
            0.into(),
            "max_per_buyer: 0 is not allowed: expected an integer from 1 to 10000000",
        ),
    ] {
        let mut json = valid.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = NewConcert::from_json(json.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert_eq!(error.to_string(), message);
    }
    for (key, value, message) in [
        ("sold", serde_json::json!(1), "unknown field `sold`"),
        (
            "on_sale_from",
            serde_json::json!("2030-01-02T00:00:00Z"),
            "on_sale_from: 2030-01-02T00:00:00Z is not allowed: expected a time before the end of the sale",
        ),
        (
            "on_sale_until",
            serde_json::json!("tomorrow"),
            "on_sale_until: ",
        ),
        (
            "price",
            serde_json::json!({"currency": "EUR"}),
            "price.amount: missing field `amount`",
        ),
        (
            "price",
            serde_json::json!([6500, "EUR"]),
            "price: invalid type: sequence, expected an object",
        ),
    ] {
        let mut json = valid.clone();
        json[key] = value;
        let error = NewConcert::from_json(json.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn text_that_is_not_json_is_malformed_and_json_of_another_shape_is_invalid() {
    for text in ["", "{", "{\"buyer\": \"ann\", \"quantity\": 1} x", "\u{0}"] {
        let error = NewPurchase::from_json(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. }),
            "{text}: {error:?}"
        );
    }
    for (text, message) in [
        (
            "[\"ann\", 1]",
            "body: invalid type: sequence, expected an object",
        ),
        ("{\"buyer\": \"ann\"}", "quantity: missing field `quantity`"),
        (
            "{\"buyer\": \"ann\", \"buyer\": \"bob\", \"quantity\": 1}",
            "buyer: duplicate field `buyer`",
        ),
        (
            "{\"buyer\": \"ann\", \"quantity\": 11}",
            "quantity: 11 is not allowed: expected an integer from 1 to 10",
        ),
        ("{\"buyer\": \"\", \"quantity\": 1}", "buyer: 0 characters"),
        (
            "{\"buyer\": \"ann\", \"quantity\": 1, \"total\": 1}",
            "unknown field `total`",
        ),
    ] {
        let error = NewPurchase::from_json(text.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{text}: {error:?}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}

#[tokio::test]
async fn the_json_of_a_concert_matches_the_documentation() {
    let platform = platforms().await.remove(0);
    let concert = platform.concert(3).await;
    let mut expected = serde_json::json!({
        "slug": "radiohead", "title": "Radiohead", "venue": "Arena",
        "starts_at": "2100-01-01T20:00:00Z", "capacity": 3,
        "price": euros(65), "max_per_buyer": null, "sold": 0, "available": 3
    });
    expected["id"] = serde_json::json!(concert.id);
    let json = serde_json::to_value(&concert).unwrap();
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Concert>(json).unwrap(), concert);

    let purchase = platform.buy(&concert, 2).await.unwrap().purchase;
    let json = serde_json::to_value(&purchase).unwrap();
    assert_eq!(
        json["total"],
        serde_json::json!({"amount": 13000, "currency": "EUR"})
    );
    assert_eq!(
        (&json["status"], &json["quantity"]),
        (&"paid".into(), &2.into())
    );
    assert_eq!(
        serde_json::from_value::<ticket_core::Purchase>(json).unwrap(),
        purchase
    );
}

/// With a fault on `database`, SQLite reads through its pool, and otherwise on the calling thread.
#[tokio::test(flavor = "multi_thread")]
async fn reads_show_every_acknowledged_purchase() {
    let fault = r#"{"faults": [{"operation": "database", "delay": {"fixed": {"ms": 1}}}]}"#;
    for document in [Document::calm(), Document::from_json(fault).unwrap()] {
        let options = Options {
            faults: Faults::new(document),
            ..Options::default()
        };
        for platform in platforms_with(options).await {
            let concert = platform.concert(1000).await;
            let buys = (0..20).map(|_| async {
                let bought = platform.buy(&concert, 1).await.unwrap().purchase;
                let read = platform.tickets.read_purchase(bought.id).await.unwrap();
                assert_eq!(read, bought, "{}", platform.name);
            });
            futures_util::future::join_all(buys).await;
            for sold in 21..40 {
                platform.buy(&concert, 1).await.unwrap();
                let read = platform.tickets.concert(concert.id).await.unwrap();
                assert_eq!(read.sold, sold, "{}", platform.name);
                let page = platform.tickets.list_concerts(1, None).await.unwrap();
                assert_eq!(page.items[0].sold, sold, "{}", platform.name);
            }
        }
    }
}

#[tokio::test]
async fn closing_after_reads_leaves_no_log_of_sqlite_and_rejects_further_reads() {
    let platform = platforms().await.remove(0);
    let concert = platform.concert(10).await;
    platform.tickets.concert(concert.id).await.unwrap();
    platform.tickets.close().await;
    let path = platform.url.strip_prefix("sqlite://").unwrap();
    assert!(std::fs::exists(path).unwrap());
    assert!(!std::fs::exists(format!("{path}-wal")).unwrap());
    let error = platform.tickets.concert(concert.id).await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
}
