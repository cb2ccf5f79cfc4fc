//! A live page with simulated traffic. Run it and open the URL that it prints:
//!
//! ```sh
//! cargo run -p tower-metrics-dashboard --features live --example live_page
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tower_metrics_dashboard::live::{
    Check, Control, Equation, LivePage, LoggedRequest, RecentRequests, Side,
};
use tower_metrics_dashboard::{
    BarGauge, BurnRateAlert, Color, Column, Dashboard, Heatmap, Indicator, Row, Selector, Slo,
    Stat, Table, TimeSeries, Unit,
};

const DURATION: &str = "http_server_request_duration_seconds";
const ROUTES: [(&str, &str, f64, f64); 5] = [
    ("GET", "/concerts", 40.0, 0.004),
    ("GET", "/concerts/{concert_id}", 25.0, 0.003),
    ("POST", "/concerts/{concert_id}/purchases", 14.0, 0.045),
    ("GET", "/purchases/{purchase_id}", 6.0, 0.003),
    ("DELETE", "/purchases/{purchase_id}", 0.6, 0.02),
];
const CONCERTS: [(&str, i64); 6] = [
    ("radiohead-berlin", 20_000),
    ("bjork-reykjavik", 11_000),
    ("massive-attack-bristol", 15_000),
    ("kraftwerk-duesseldorf", 8_000),
    ("portishead-london", 5_200),
    ("four-tet-lisbon", 2_600),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let shop = Shop::new(&registry)?;
    let preset = Arc::new(Mutex::new("calm".to_owned()));
    let log = Arc::new(RecentRequests::new());
    tokio::spawn(shop.clone().simulate(preset.clone(), log.clone()));

    let current = preset.clone();
    let faults = Control::new(
        "Faults",
        move || current.lock().unwrap().clone(),
        move |value| {
            *preset.lock().unwrap() = value.to_owned();
            Ok(())
        },
    )
    .choice("calm", "Injects no faults.")
    .choice("everyday", "Declines 5% of the payments.")
    .choice("black-friday", "Triples the traffic.")
    .choice("payment-outage", "Fails 70% of the purchases.")
    .choice("slow-database", "Multiplies durations by 9.")
    .default_value("calm")
    .annotated(true);
    let commit = Control::new("Commit", || "group".into(), |_| Ok(()))
        .choice("group", "Commits concurrent purchases together.")
        .choice("each", "Commits every purchase in its own transaction.")
        .panel("Purchases");
    let sold = shop.sold.clone();
    let consistency = Check::new(
        "Consistency",
        "The tickets sold match the purchases in the database.",
        move || {
            let total: u64 = CONCERTS
                .iter()
                .map(|(slug, _)| sold.with_label_values(&[slug]).get())
                .sum();
            let sides = Equation::new("tickets sold")
                .side(Side::exact("counter", total as f64))
                .side(Side::exact("database", total as f64));
            std::future::ready(Ok(vec![sides]))
        },
    );

    let availability = Slo::new(
        "availability",
        "succeed",
        0.999,
        Indicator::Bad {
            bad: requests().with_prefix("http_response_status_code", "5"),
            total: requests(),
        },
    );
    let latency = Slo::new(
        "latency",
        "complete within 250 ms",
        0.99,
        Indicator::Good {
            good: Selector::new(DURATION).bucket(0.25),
            total: requests(),
        },
    );
    let page = LivePage::builder(dashboard(), registry)
        .slos([&availability, &latency])
        // Windows of minutes instead of hours, so that a simulated outage alerts soon.
        .burn_rate_alerts(BurnRateAlert::DEFAULTS.map(|alert| alert.scaled(1.0 / 60.0)))
        .control(faults)
        .control(commit)
        .check(consistency)
        .requests(log, DURATION)
        .graceful_shutdown(interrupt())
        .build()?;

    let listener = tokio::net::TcpListener::bind(
        std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".into()),
    )
    .await?;
    println!("http://{}/live", listener.local_addr()?);
    let router = axum::Router::new().nest_service("/live", page.into_router());
    axum::serve(listener, router)
        .with_graceful_shutdown(interrupt())
        .await?;
    Ok(())
}

async fn interrupt() {
    let _ = tokio::signal::ctrl_c().await;
}

fn requests() -> Selector {
    Selector::new(DURATION).count()
}

fn dashboard() -> Dashboard {
    let by = ["http_request_method", "http_route"];
    let errors = || {
        requests()
            .with_prefix("http_response_status_code", "5")
            .rate()
    };
    let duration = || Selector::new(DURATION);
    let sold = || Selector::new("tickets_sold_total");
    let quantiles = |panel: TimeSeries| {
        panel
            .series("p50", duration().quantile(0.5))
            .series("p95", duration().quantile(0.95))
            .series("p99", duration().quantile(0.99))
    };
    let stat = |title, unit, expr| {
        Stat::new(title, unit)
            .series("now", expr)
            .description("Over the last 5 seconds.")
    };
    Dashboard::new("shop", "Ticket shop", "A simulated ticket shop.")
        .row(
            Row::new("Overview")
                .panel(stat(
                    "Requests",
                    Unit::RequestsPerSecond,
                    requests().rate().sum(),
                ))
                .panel(
                    stat(
                        "Errors",
                        Unit::Ratio,
                        errors()
                            .sum()
                            .or_zero(requests().rate().sum())
                            .ratio(requests().rate().sum()),
                    )
                    .threshold(0.001, Color::Yellow)
                    .threshold(0.01, Color::Red),
                )
                .panel(stat("p95", Unit::Seconds, duration().quantile(0.95)))
                .panel(stat(
                    "In flight",
                    Unit::Count,
                    Selector::new("http_server_active_requests").value().sum(),
                ))
                .panel(stat("Purchases", Unit::PerSecond, sold().rate().sum()))
                .panel(stat(
                    "Sales",
                    Unit::Currency("EUR".into()),
                    sold().increase().sum().times(65.0),
                )),
        )
        .row(
            Row::new("Traffic")
                .panel(
                    Table::new("Routes", by)
                        .description("Rate, errors and duration by route.")
                        .column(Column::new(
                            "Requests",
                            Unit::RequestsPerSecond,
                            requests().rate().sum_by(by),
                        ))
                        .column(
                            Column::new(
                                "Errors",
                                Unit::Ratio,
                                errors().sum_by(by).ratio(requests().rate().sum_by(by)),
                            )
                            .threshold(0.001, Color::Yellow)
                            .threshold(0.01, Color::Red),
                        )
                        .column(Column::new(
                            "p50",
                            Unit::Seconds,
                            duration().quantile_by(0.5, by),
                        ))
                        .column(Column::new(
                            "p95",
                            Unit::Seconds,
                            duration().quantile_by(0.95, by),
                        ))
                        .column(Column::new(
                            "p99",
                            Unit::Seconds,
                            duration().quantile_by(0.99, by),
                        ))
                        .size(24, 9),
                )
                .panel(
                    TimeSeries::new("Requests by status", Unit::RequestsPerSecond)
                        .description("Requests per second, by status code.")
                        .series(
                            "{http_response_status_code}",
                            requests().rate().sum_by(["http_response_status_code"]),
                        )
                        .stacked(true),
                )
                .panel(quantiles(
                    TimeSeries::new("Duration", Unit::Seconds)
                        .description("Quantiles of the duration of all requests."),
                ))
                .panel(
                    Heatmap::new("Duration heatmap", Unit::Seconds, duration())
                        .description("Requests by duration. Darker cells have more."),
                )
                .panel(
                    TimeSeries::new("Network", Unit::BytesPerSecond)
                        .description("Response bodies.")
                        .series(
                            "response bodies",
                            Selector::new("http_server_response_body_size_bytes")
                                .sum()
                                .rate()
                                .sum(),
                        ),
                ),
        )
        .row(
            Row::new("Sales")
                .panel(
                    TimeSeries::new("Tickets sold", Unit::PerMinute)
                        .description("Tickets sold per minute, by concert.")
                        .series("{concert}", sold().rate().sum_by(["concert"]).per_minute())
                        .stacked(true),
                )
                .panel(
                    BarGauge::new(
                        "Available tickets",
                        Unit::Count,
                        "{concert}",
                        Selector::new("tickets_available")
                            .value()
                            .max_by(["concert"]),
                    )
                    .description("Available tickets, by concert."),
                ),
        )
}

#[derive(Clone)]
struct Shop {
    duration: HistogramVec,
    size: HistogramVec,
    sold: IntCounterVec,
    available: IntGaugeVec,
    active: IntGaugeVec,
}

impl Shop {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let labels = [
            "http_request_method",
            "http_route",
            "http_response_status_code",
        ];
        let bounds = vec![
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
        ];
        let shop = Self {
            duration: HistogramVec::new(
                HistogramOpts::new(DURATION, "Duration.").buckets(bounds),
                &labels,
            )?,
            size: HistogramVec::new(
                HistogramOpts::new("http_server_response_body_size_bytes", "Size.")
                    .buckets(vec![1e3, 1e6]),
                &labels,
            )?,
            sold: IntCounterVec::new(Opts::new("tickets_sold_total", "Sold."), &["concert"])?,
            available: IntGaugeVec::new(Opts::new("tickets_available", "Left."), &["concert"])?,
            active: IntGaugeVec::new(
                Opts::new("http_server_active_requests", "In flight."),
                &["http_request_method"],
            )?,
        };
        registry.register(Box::new(shop.duration.clone()))?;
        registry.register(Box::new(shop.size.clone()))?;
        registry.register(Box::new(shop.sold.clone()))?;
        registry.register(Box::new(shop.available.clone()))?;
        registry.register(Box::new(shop.active.clone()))?;
        Ok(shop)
    }

    /// Records the requests of 50 ms at a time.
    async fn simulate(self, preset: Arc<Mutex<String>>, log: Arc<RecentRequests>) {
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / (1_u64 << 31) as f64
        };
        for (slug, capacity) in CONCERTS {
            self.available.with_label_values(&[slug]).set(capacity);
        }
        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let fault = preset.lock().unwrap().clone();
            let wave = 1.0 + 0.25 * (started.elapsed().as_secs_f64() / 23.0).sin();
            let crowd = if fault == "black-friday" { 3.0 } else { 1.0 };
            self.active
                .with_label_values(&["GET"])
                .set((3.0 * wave * crowd + 3.0 * random()) as i64);
            for (method, route, rate, median) in ROUTES {
                let expected = rate * wave * crowd / 20.0;
                let count = expected as u64 + u64::from(random() < expected.fract());
                for _ in 0..count {
                    let normal = (-2.0 * random().max(1e-9).ln()).sqrt()
                        * (std::f64::consts::TAU * random()).cos();
                    let slow = if fault == "slow-database" { 9.0 } else { 1.0 };
                    let seconds = median * slow * (0.6 * normal).exp();
                    let purchase = method == "POST";
                    let status = match random() {
                        _ if purchase && fault == "payment-outage" && random() < 0.7 => "503",
                        share if purchase && fault != "calm" && share < 0.05 => "402",
                        _ if purchase => "201",
                        _ => "200",
                    };
                    self.duration
                        .with_label_values(&[method, route, status])
                        .observe(seconds);
                    self.size
                        .with_label_values(&[method, route, status])
                        .observe(300.0 + 4000.0 * random());
                    if status == "201" {
                        let (slug, _) = CONCERTS[(random() * random() * 6.0) as usize];
                        self.sold.with_label_values(&[slug]).inc();
                        self.available.with_label_values(&[slug]).dec();
                    }
                    let id = format!("{:016x}", (random() * 1e18) as u64);
                    let took = Duration::from_secs_f64(seconds);
                    let mut request = LoggedRequest::new(SystemTime::now(), took);
                    request.line = format!(
                        "INFO request{{id={id} method={method} route={route}}}: finished status={status} took={seconds:.4}s"
                    );
                    request.id = id;
                    request.method = method.into();
                    request.route = route.into();
                    request.status = status.parse().ok();
                    request.failed = status.starts_with('5');
                    log.record(request);
                }
            }
        }
    }
}
