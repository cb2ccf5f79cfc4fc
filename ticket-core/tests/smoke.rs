//! The platform from beginning to end.
use ticket_core::*;

#[tokio::test]
async fn a_ticket_is_bought_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", dir.path().display());
    let mut options = Options::default();
    for commit in [Commit::Each, Commit::Group] {
        options.commit = commit;
        let tickets = Tickets::open(&url, options.clone()).await.unwrap();
        let new = NewConcert::from_json(br#"{"title": "Radiohead - Berlin", "venue": "Arena", "starts_at": "2030-01-01T20:00:00Z", "capacity": 5, "price": {"amount": 6500, "currency": "EUR"}, "max_per_buyer": null}"#).unwrap();
        let concert = tickets.create_concert(new).await.unwrap();
        assert_eq!(tickets.concert(concert.id).await.unwrap(), concert);
        let key: IdempotencyKey = "k1".parse().unwrap();
        let new = NewPurchase::new("ann", 3).unwrap();
        let first = tickets
            .purchase(concert.id, new.clone(), Some(key.clone()))
            .await
            .unwrap();
        assert!(!first.replayed);
        let again = tickets
            .purchase(concert.id, new.clone(), Some(key))
            .await
            .unwrap();
        assert!(again.replayed);
        assert_eq!(again.purchase, first.purchase);
        assert_eq!(
            tickets.read_purchase(first.purchase.id).await.unwrap(),
            first.purchase
        );
        let error = tickets.purchase(concert.id, new, None).await.unwrap_err();
        assert!(matches!(error, Error::SoldOut { available: 2 }), "{error}");
        let refunded = tickets.refund(first.purchase.id).await.unwrap();
        assert_eq!(refunded.status, Status::Refunded);
        assert_eq!(tickets.refund(first.purchase.id).await.unwrap(), refunded);
        assert_eq!(tickets.restock(concert.id, 3).await.unwrap().available(), 8);
        let totals = tickets.totals().await.unwrap();
        assert!(totals.balance());
        assert_eq!(
            tickets
                .list_concerts(1, None)
                .await
                .unwrap()
                .next_cursor
                .is_some(),
            commit == Commit::Group
        );
        tickets.close().await;
    }
}
