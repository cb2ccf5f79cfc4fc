//! The checked-in dashboards and rules: equal to what the code renders, and accepted by Grafana's
//! linter and Google's importer.

#[path = "../src/dashboards/mod.rs"]
mod dashboards;
#[path = "../../tower-metrics/dashboard/tests/google_importer/mod.rs"]
mod google_importer;
#[path = "../../tower-metrics/dashboard/tests/grafana_linter/mod.rs"]
mod grafana_linter;
#[path = "../../tower-metrics/dashboard/tests/schema/mod.rs"]
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use tower_metrics_dashboard::{Expr, PanelKind};

use crate::dashboards::{Dashboards, recorder};

fn k8s() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s")
}

fn dashboards() -> Dashboards {
    Dashboards::of(&recorder().unwrap(), false).unwrap()
}

#[test]
fn the_checked_in_files_match_the_generated_ones() {
    let rendered = tempfile::tempdir().unwrap();
    dashboards::write(rendered.path(), false).unwrap();
    for (path, _) in dashboards().files().unwrap() {
        let wanted = fs::read_to_string(rendered.path().join(&path)).unwrap();
        let found = fs::read_to_string(k8s().join(&path)).unwrap_or_default();
        assert!(
            wanted == found,
            "k8s/{} is out of date; run `cargo run -p example-server -- dashboards`",
            path.display()
        );
    }
}

#[test]
fn quantiles_of_requests_faster_than_the_first_default_bound_are_distinguished() {
    let defaults = tower_metrics::Prometheus::new();
    let added = [0.0005, 0.001, 0.0025, 0.3];
    let mut expected: Vec<f64> = defaults.duration_bounds().to_vec();
    expected.extend(added);
    expected.sort_by(f64::total_cmp);
    assert_eq!(recorder().unwrap().duration_bounds(), expected);
}

#[test]
fn every_checked_in_dashboard_is_generated() {
    let files = dashboards().files().unwrap();
    let rendered: Vec<PathBuf> = files.iter().map(|(path, _)| k8s().join(path)).collect();
    for folder in ["grafana/dashboards", "grafana/import", "google"] {
        for file in fs::read_dir(k8s().join(folder)).unwrap() {
            let file = file.unwrap().path();
            let is_document = file.extension().is_some_and(|e| e == "md");
            assert!(
                is_document || rendered.contains(&file),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn the_linter_accepts_every_dashboard() {
    for (path, text) in dashboards().files().unwrap() {
        if path.starts_with("grafana") {
            let dashboard = serde_json::from_str(&text).unwrap();
            let problems = grafana_linter::lint(&dashboard);
            assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
            assert!(grafana_linter::panels(&dashboard).count() > 5);
        }
    }
}

#[test]
fn cloud_monitoring_has_every_field_of_the_dashboards() {
    let schema = schema::Schema::load("cloud-monitoring-dashboard.json");
    let files = dashboards().files().unwrap().into_iter();
    let files: Vec<_> = files
        .filter(|(path, _)| path.starts_with("google"))
        .collect();
    assert_eq!(files.len(), 4);
    for (path, text) in files {
        let problems = schema.problems(&serde_json::from_str(&text).unwrap());
        assert_eq!(problems, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn the_list_of_what_googles_importer_loses_is_up_to_date() {
    let mut list = String::new();
    for (path, text) in dashboards().files().unwrap() {
        if !path.starts_with("grafana/import") {
            continue;
        }
        let report = google_importer::import(&serde_json::from_str(&text).unwrap());
        assert_eq!(report.broken, Vec::<String>::new(), "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        list.push_str(&format!("\n### {name}\n\n| lost | of |\n|---|---|\n"));
        for (what, of) in report.lost {
            let of = match of.len() {
                0..9 => of.join(", "),
                many => format!("{many} panels"),
            };
            list.push_str(&format!("| {what} | {of} |\n"));
        }
    }
    let document = fs::read_to_string(k8s().join("google/README.md")).unwrap();
    let (_, checked_in) = document.split_once("<!-- derived by a test -->\n").unwrap();
    assert!(
        checked_in == list,
        "replace the end of k8s/google/README.md by\n{list}"
    );
}

#[test]
fn every_link_leads_to_a_dashboard() {
    let dashboards = dashboards();
    assert!(!dashboards.slos().is_empty());
    let all = dashboards.all();
    let exists = |uid: &str| all.iter().any(|dashboard| dashboard.uid == uid);
    for dashboard in &all {
        assert!(!dashboard.links.is_empty());
        assert!(dashboard.links.iter().all(|link| exists(&link.dashboard)));
        for panel in dashboard.panels() {
            if let PanelKind::Table {
                data_link: Some(link),
                ..
            } = &panel.kind
            {
                assert!(exists(&link.dashboard));
            }
        }
    }
}

/// For each counter of amounts in `expr`, the labels that remain after every aggregation.
fn amount_labels(expr: &Expr) -> Vec<Vec<String>> {
    match expr {
        Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) => {
            let all = vec!["concert".to_owned(), "currency".to_owned()];
            Vec::from_iter(of.metric.contains("_amount").then_some(all))
        }
        Expr::Aggregate { by, of, .. } => {
            let mut kept = amount_labels(of);
            kept.iter_mut()
                .for_each(|all| all.retain(|one| by.contains(one)));
            kept
        }
        Expr::Quantile { .. } => Vec::new(),
        Expr::Times { of, .. } | Expr::TopK { of, .. } | Expr::Since(of) => amount_labels(of),
        Expr::Ratio {
            numerator: a,
            denominator: b,
        }
        | Expr::OrZero { of: a, like: b }
        | Expr::Minus { left: a, right: b } => [amount_labels(a), amount_labels(b)].concat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_panel_adds_up_amounts_in_different_currencies() {
    let mut sums = 0;
    for dashboard in dashboards().all() {
        for panel in dashboard.panels() {
            for labels in panel.expressions().iter().flat_map(amount_labels) {
                sums += 1;
                assert!(
                    labels.iter().any(|label| label == "currency"),
                    "{}: a sum over currencies",
                    panel.title
                );
                assert!(
                    !matches!(panel.kind, PanelKind::TimeSeries { stacked: true, .. }),
                    "{}: a stack of currencies",
                    panel.title
                );
            }
        }
    }
    assert!(sums > 2);
}
