//! PostgreSQL over TLS, and what is reported if a connection cannot be opened.

use ticket_core::{Error, Tickets};

use crate::{buy, cluster::Cluster, new_concert, options};

/// Returns why the database cannot be used.
async fn problem(url: &str) -> String {
    let error = Tickets::open(url, options()).await.unwrap_err();
    assert!(matches!(error, Error::Setup { .. }), "{url}: {error:?}");
    error.to_string()
}

#[tokio::test]
async fn tls_is_used_and_verified_as_the_url_specifies() {
    let Some(cluster) = Cluster::start_with_tls() else {
        return;
    };
    cluster.create_database("tickets");
    cluster.sql("tickets", "ALTER ROLE postgres PASSWORD 'p@ss/word'");
    let authority = cluster.folder().join("ca.crt");
    let authority = authority.display();
    let port = cluster.port();
    let url = |host: &str, parameters: &str| {
        format!("postgres://postgres:p%40ss%2Fword@{host}:{port}/tickets?{parameters}")
    };
    for (host, parameters) in [
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("localhost", "sslmode=prefer".to_owned()),
        (
            "127.0.0.1",
            format!("sslmode=require&sslrootcert={authority}"),
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={authority}"),
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={authority}"),
        ),
    ] {
        let tickets = Tickets::open(&url(host, &parameters), options())
            .await
            .unwrap_or_else(|error| panic!("{host}, {parameters}: {}", error.report()));
        let concert = tickets.create_concert(new_concert(10)).await.unwrap().id;
        buy(&tickets, concert, "ann", 1, None).await.unwrap();
        tickets.ping().await.unwrap();
        tickets.close().await;
    }
    for (host, parameters, expected) in [
        // The operating system does not know the authority.
        ("localhost", "sslmode=verify-full".to_owned(), "TLS failed"),
        ("localhost", "sslmode=verify-ca".to_owned(), "TLS failed"),
        // The certificate is not for this name.
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={authority}"),
            "TLS failed",
        ),
        // The server demands TLS.
        ("localhost", "sslmode=disable".to_owned(), "no encryption"),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=/missing.crt".to_owned(),
            "/missing.crt",
        ),
    ] {
        let problem = problem(&url(host, &parameters)).await;
        assert!(
            problem.contains(expected),
            "{host}, {parameters}: {problem}"
        );
        assert!(
            !problem.contains("p@ss") && !problem.contains("p%40ss"),
            "{problem}"
        );
    }
    let wrong = url("localhost", "sslmode=require").replace("p%40ss%2Fword", "hunter2");
    let problem_text = problem(&wrong).await;
    assert!(
        problem_text.contains("rejected the user or the password")
            && problem_text.contains("password authentication failed for user \"postgres\""),
        "{problem_text}"
    );
    assert!(!problem_text.contains("hunter2") && !problem_text.contains("at line"));
    let missing = url("localhost", "sslmode=require").replace("/tickets?", "/missing?");
    let problem_text = problem(&missing).await;
    assert!(
        problem_text.contains("database \"missing\" does not exist"),
        "{problem_text}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_rejected_if_tls_is_required() {
    let Some(url) = crate::database() else {
        return;
    };
    let problem = problem(&format!("{url}&sslmode=require")).await;
    assert!(problem.contains("TLS failed"), "{problem}");
}

#[tokio::test]
async fn a_missing_server_is_unavailable() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    for host in [
        format!("127.0.0.1:{port}"),
        "does-not-exist.invalid".to_owned(),
    ] {
        let url = format!("postgres://ann:hunter2@{host}/tickets");
        let error = Tickets::open(&url, options()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(!error.report().contains("hunter2"));
    }
}
