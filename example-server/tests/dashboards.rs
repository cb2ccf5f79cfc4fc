//! The checked-in dashboards and rules: what the code renders, and clean by Grafana's linter.

#[path = "../src/dashboards/mod.rs"]
mod dashboards;
#[path = "../../tower-metrics/dashboard/tests/grafana_linter/mod.rs"]
mod grafana_linter;

use std::fs;
use std::path::{Path, PathBuf};

use tower_metrics_dashboard::{Expr, Show};

fn k8s() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s")
}

#[test]
fn the_checked_in_files_are_what_the_code_renders() {
    let rendered = tempfile::tempdir().unwrap();
    dashboards::write(rendered.path()).unwrap();
    for (path, _) in dashboards::files().unwrap() {
        let wanted = fs::read_to_string(rendered.path().join(&path)).unwrap();
        let found = fs::read_to_string(k8s().join(&path)).unwrap_or_default();
        assert!(
            wanted == found,
            "k8s/{} is not what the code renders; write it anew with the command `dashboards`",
            path.display()
        );
    }
}

#[test]
fn no_dashboard_is_checked_in_that_the_code_does_not_render() {
    let rendered: Vec<PathBuf> = dashboards::files()
        .unwrap()
        .into_iter()
        .map(|(path, _)| k8s().join(path))
        .collect();
    for folder in ["grafana/dashboards", "grafana/import"] {
        for file in fs::read_dir(k8s().join(folder)).unwrap() {
            let file = file.unwrap().path();
            assert!(rendered.contains(&file), "{}", file.display());
        }
    }
}

#[test]
fn the_linter_has_nothing_to_say() {
    for (path, text) in dashboards::files().unwrap() {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let dashboard = serde_json::from_str(&text).unwrap();
            let problems = grafana_linter::lint(&dashboard);
            assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
            assert!(grafana_linter::panels(&dashboard).count() > 5);
        }
    }
}

#[test]
fn every_link_and_drill_down_leads_to_a_dashboard() {
    let all = dashboards::all();
    let leads = |uid: &str| all.iter().any(|dashboard| dashboard.uid == uid);
    for dashboard in &all {
        assert!(!dashboard.links.is_empty());
        assert!(dashboard.links.iter().all(|link| leads(&link.dashboard)));
        for panel in dashboard.panels() {
            if let Show::Table {
                drill: Some(drill), ..
            } = &panel.show
            {
                assert!(leads(&drill.dashboard));
            }
        }
    }
}

/// The labels that the values of `expr` have, for each counter of money in it. A label that an
/// aggregation anywhere in the expression drops is not among them.
fn labels_of_money(expr: &Expr) -> Vec<Vec<String>> {
    match expr {
        Expr::Value(of) | Expr::Rate(of) | Expr::Increase(of) => {
            let all = vec!["concert".to_owned(), "currency".to_owned()];
            Vec::from_iter(of.metric.contains("_amount").then_some(all))
        }
        Expr::Fold { by, of, .. } => {
            let mut kept = labels_of_money(of);
            kept.iter_mut()
                .for_each(|all| all.retain(|one| by.contains(one)));
            kept
        }
        Expr::Quantile { .. } => Vec::new(),
        Expr::Times { of, .. } | Expr::Top { of, .. } | Expr::Since(of) => labels_of_money(of),
        Expr::Ratio { part: a, whole: b }
        | Expr::OrZero { of: a, like: b }
        | Expr::Minus { left: a, right: b } => [labels_of_money(a), labels_of_money(b)].concat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn amounts_in_different_currencies_are_never_added_up() {
    let mut sums = 0;
    for dashboard in dashboards::all() {
        for panel in dashboard.panels() {
            for labels in panel.expressions().iter().flat_map(labels_of_money) {
                sums += 1;
                assert!(
                    labels.iter().any(|label| label == "currency"),
                    "{}: a sum over currencies",
                    panel.title
                );
                assert!(
                    !matches!(panel.show, Show::Lines { stacked: true, .. }),
                    "{}: a stack of currencies",
                    panel.title
                );
            }
        }
    }
    assert!(sums > 2);
}
