//! Objectives for other tools: OpenSLO, Sloth and Pyrra accept them, and they select the requests
//! that the rules for Prometheus select.

mod schema;
mod yaml;

use std::time::Duration;

use serde_json::{Value, json};
use tower_metrics::Names;
use tower_metrics_dashboard::{
    BurnRateAlert, Error, Indicator, Period, Red, RedBuilder, Rules, Selector, Slo,
};

use crate::schema::Schema;
use crate::yaml::documents;

fn red(names: &Names) -> RedBuilder {
    Red::from_names(names)
        .availability(0.999)
        .latency(Duration::from_millis(300), 0.99)
}

/// Rules for every preset of names and every period.
fn all() -> Vec<Rules> {
    let mut all = Vec::new();
    for names in [
        Names::open_telemetry(),
        Names::open_telemetry_client(),
        Names::classic(),
        Names::axum_prometheus(),
    ] {
        for period in Period::ALL {
            let red = red(&names).period(period).build().unwrap();
            all.push(red.rules("Shop", "shop"));
            all.push(red.rules("Shop", "shop").by("namespace"));
        }
    }
    all
}

fn shop() -> Rules {
    red(&Names::open_telemetry())
        .build()
        .unwrap()
        .rules("Shop", "shop")
        .dashboard_url("/d/shop")
}

fn assert_valid(schema: &str, text: &str) -> Vec<Value> {
    let schema = Schema::load(schema);
    let documents = documents(text);
    for document in &documents {
        let problems = schema.problems(document);
        assert!(problems.is_empty(), "{problems:#?}\n{text}");
    }
    documents
}

#[test]
fn every_export_is_valid() {
    for rules in all() {
        assert_eq!(
            assert_valid("openslo-v1.json", &rules.open_slo().unwrap()).len(),
            3
        );
        assert_eq!(
            assert_valid("sloth-v1.json", &rules.sloth().unwrap()).len(),
            1
        );
        assert_eq!(
            assert_valid("pyrra-v1alpha1.json", &rules.pyrra().unwrap()).len(),
            2
        );
    }
}

#[test]
fn the_schemas_refuse_what_the_tools_refuse() {
    let check = |schema: &str, text: &str, change: &dyn Fn(&mut Value)| {
        let schema = Schema::load(schema);
        let mut document = documents(text).pop().unwrap();
        assert_eq!(schema.problems(&document), Vec::<String>::new());
        change(&mut document);
        assert!(!schema.problems(&document).is_empty(), "{document}");
    };
    let (open_slo, sloth) = (shop().open_slo().unwrap(), shop().sloth().unwrap());
    let pyrra = shop().pyrra().unwrap();
    check("openslo-v1.json", &open_slo, &|d| {
        d["spec"]["objectives"][0]["target"] = json!(1);
    });
    check("openslo-v1.json", &open_slo, &|d| {
        d["spec"]["timeWindow"][0]["isRolling"] = json!(false);
    });
    check("openslo-v1.json", &open_slo, &|d| {
        d["spec"]["budgetingMethod"] = json!("Sometimes");
    });
    check("sloth-v1.json", &sloth, &|d| {
        d["slos"][0]["sli"]["events"]["error_query"] = json!("up");
    });
    check("sloth-v1.json", &sloth, &|d| {
        d["slos"][0]["Objective"] = json!(99);
    });
    check("pyrra-v1alpha1.json", &pyrra, &|d| {
        d["spec"]["target"] = json!(99);
    });
    check("pyrra-v1alpha1.json", &pyrra, &|d| {
        d["spec"]["indicator"]["latency"]["succes"] = json!({});
    });
}

#[test]
fn open_slo_selects_the_counters_of_the_rules() {
    let documents = documents(&shop().open_slo().unwrap());
    assert_eq!(documents[0]["kind"], "Service");
    let (availability, latency) = (&documents[1], &documents[2]);
    assert_eq!(availability["metadata"]["name"], "shop-availability");
    assert_eq!(availability["spec"]["objectives"][0]["target"], 0.999);
    assert_eq!(
        availability["spec"]["timeWindow"],
        json!([{ "duration": "30d", "isRolling": true }])
    );
    let ratio = &availability["spec"]["indicator"]["spec"]["ratioMetric"];
    let total = r#"sum by (job) (http_server_request_duration_seconds_count{job="shop",error_type!~"cancelled|body_cancelled"})"#;
    let query = |source: &Value| source["metricSource"]["spec"]["query"].clone();
    assert_eq!(query(&ratio["total"]), total);
    assert_eq!(
        query(&ratio["bad"]),
        format!(
            "sum by (job) (http_server_request_duration_seconds_count{{job=\"shop\",error_type!~\"|cancelled|body_cancelled\"}}) or 0 * {total}"
        )
    );
    let ratio = &latency["spec"]["indicator"]["spec"]["ratioMetric"];
    let good = query(&ratio["good"]);
    assert!(good.as_str().unwrap().contains(r#"le="0.3""#), "{good}");
}

#[test]
fn sloth_replaces_the_window_of_the_queries_of_the_rules() {
    let rules = shop();
    let sloth = &documents(&rules.sloth().unwrap())[0];
    let slo = &sloth["slos"][0];
    assert_eq!(
        (&slo["name"], &slo["objective"]),
        (&json!("availability"), &json!(99.9))
    );
    let group = &documents(&rules.rule_file().unwrap())[0]["groups"][0];
    for (record, query) in [
        ("job_slo:bad_requests:rate5m", "error_query"),
        ("job_slo:requests:rate5m", "total_query"),
    ] {
        let recorded = (group["rules"].as_array().unwrap().iter())
            .find(|rule| rule["record"] == record)
            .unwrap();
        let query = slo["sli"]["events"][query].as_str().unwrap();
        assert_eq!(query.replace("{{.window}}", "5m"), recorded["expr"]);
    }
    let alerting = &slo["alerting"];
    assert_eq!(alerting["page_alert"]["labels"]["severity"], "critical");
    assert_eq!(
        alerting["page_alert"]["annotations"]["runbook_url"],
        "runbook.md#shopavailabilityburnfast"
    );
    assert_eq!(alerting["annotations"]["dashboard_url"], "/d/shop");
}

#[test]
fn text_in_a_query_is_no_template_of_sloth() {
    let total = Selector::new("jobs_total").with("kind", ["{{.window}}"]);
    let indicator = Indicator::Bad {
        bad: total.clone().with("result", ["failed"]),
        total,
    };
    let rules = Rules::new("Jobs", "jobs").slo(Slo::new("jobs", "succeed", 0.9, indicator));
    let sloth = &documents(&rules.sloth().unwrap())[0];
    assert_eq!(
        sloth["slos"][0]["sli"]["events"]["total_query"],
        r#"sum by (job) (rate(jobs_total{job="jobs",kind="{{ "{{" }}.window}}"}[{{.window}}]))"#
    );
}

#[test]
fn pyrra_reads_the_threshold_from_one_bucket() {
    let rules = red(&Names::classic()).latency(Duration::from_secs(1), 0.9);
    // An objective of the same name is an error, so the builder of rules adds it.
    assert!(matches!(rules.build(), Err(Error::Duplicate { .. })));
    let second = Slo::new(
        "latency",
        "complete within 1 s",
        0.9,
        Indicator::Good {
            good: Selector::new("request_seconds").bucket(1.0),
            total: Selector::new("request_seconds").count(),
        },
    );
    let rules = Rules::new("Shop", "Shop API").slo(second).by("namespace");
    let pyrra = &documents(&rules.pyrra().unwrap())[0];
    assert_eq!(pyrra["metadata"]["name"], "shop-api-latency");
    let spec = &pyrra["spec"];
    assert_eq!(
        (&spec["target"], &spec["window"]),
        (&json!("90"), &json!("30d"))
    );
    assert_eq!(
        spec["indicator"]["latency"]["success"]["metric"],
        r#"request_seconds_bucket{job="Shop API",le="1.0"}"#
    );
    assert_eq!(
        spec["indicator"]["latency"]["grouping"],
        json!(["namespace"])
    );
    assert_eq!(spec["alerting"]["name"], "ShopLatencyErrorBudgetBurn");
}

#[test]
fn what_a_tool_cannot_express_is_an_error() {
    let total = Selector::new("jobs_total");
    let good = Indicator::Good {
        good: total.clone().with("result", ["ok"]),
        total,
    };
    let slo = |name: &str| Slo::new(name, "succeed", 0.9, good.clone());
    let rules = Rules::new("Jobs", "jobs").slo(slo("jobs"));
    assert_eq!(
        rules.pyrra().unwrap_err().to_string(),
        "rules \"Jobs\", objective \"jobs\": invalid good requests \"jobs_total\": must be a bucket \
         of a histogram, because Pyrra selects bad requests otherwise"
    );
    assert!(rules.open_slo().is_ok() && rules.sloth().is_ok());

    let two_periods = rules.slo(slo("more").period(Period::Days7));
    assert!(two_periods.rule_file().is_ok());
    assert!(matches!(
        two_periods.sloth(),
        Err(Error::Invalid { what: "period", .. })
    ));
    let same = Rules::new("Jobs", "jobs").slo(slo("a")).slo(slo("_a"));
    assert!(same.open_slo().is_ok());
    let same = Rules::new("Jobs", "jobs").slo(slo("a_b")).slo(slo("a__b"));
    assert!(same.open_slo().is_ok());
    let job = Rules::new("Jobs", "日本").slo(slo("jobs"));
    for result in [job.open_slo(), job.sloth(), job.pyrra()] {
        assert!(matches!(result, Err(Error::Invalid { what: "job", .. })));
    }
}

#[test]
fn burn_rates_follow_from_the_period() {
    let rates = |period| BurnRateAlert::for_period(period).map(|alert| alert.rate);
    assert_eq!(rates(Period::Days7), [13.44, 3.5, 1.4, 0.98]);
    assert_eq!(rates(Period::Days28), [13.44, 5.6, 2.8, 0.9333]);
    assert_eq!(rates(Period::Days30), [14.4, 6.0, 3.0, 1.0]);
    assert_eq!(rates(Period::Days90), [43.2, 18.0, 9.0, 3.0]);
    assert_eq!(
        BurnRateAlert::DEFAULTS,
        BurnRateAlert::for_period(Period::Days30)
    );

    let rules = red(&Names::classic()).period(Period::Days90).build();
    let text = rules.unwrap().rules("Shop", "shop").rule_file().unwrap();
    assert!(text.contains("> 43.2 * 0.001"), "{text}");
    assert!(text.contains("job_slo:error_budget:remaining90d{"));
    assert!(text.contains("the error budget of 90 days is exhausted in less than 5d"));
    assert!(!text.contains("[30d]"), "{text}");
}
