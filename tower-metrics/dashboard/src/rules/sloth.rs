//! Rendering of objectives as a Sloth specification.

use super::Rules;
use super::rule::{Target, camel_case, prometheus_duration, severity_label, template_text};
use super::yaml::HEADER;
use crate::burn_rate::Severity;
use crate::error::Error;
use crate::expr::Expr;
use crate::format::percent;
use crate::period::Period;
use crate::slo::Slo;
use crate::validate::check;
use crate::yaml::Yaml;

/// Placeholder of the window while template characters of a query are escaped. Queries contain no
/// control characters.
const WINDOW: &str = "\u{1}";

pub(super) fn render(rules: &Rules) -> Result<String, Error> {
    let job = &rules.target.job;
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let valid = job.len() > 1
        && alphanumeric(job.chars().next())
        && alphanumeric(job.chars().next_back())
        && (job.bytes()).all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let allowed = "two or more letters, digits, '-', '_' or '.' that start and end with a letter or \
                   digit, which Sloth requires";
    check(&rules.context(), "job", job, valid, allowed)?;
    let period = rules.slos.first().map_or(Period::default(), |s| s.period);
    for slo in &rules.slos {
        let context = format!("{}, objective {:?}", rules.context(), slo.name);
        let allowed = "the same for all objectives of a Sloth specification";
        let same = slo.period == period;
        check(&context, "period", &slo.period.to_string(), same, allowed)?;
    }
    let slos = rules.slos.iter().map(|slo| objective(rules, slo)).collect();
    let document = Yaml::Map(vec![
        ("version", Yaml::text("prometheus/v1")),
        ("service", Yaml::text(job)),
        ("slos", Yaml::List(slos)),
    ]);
    Ok(HEADER.to_owned() + &command(period) + &document.document())
}

/// How to generate rules from the specification.
fn command(period: Period) -> String {
    let days = prometheus_duration(period.duration());
    let windows = match period {
        Period::Days28 | Period::Days30 => "",
        _ => " --slo-period-windows-path=WINDOWS",
    };
    format!("# sloth generate --default-slo-period={days}{windows} -i FILE\n")
}

fn objective(rules: &Rules, slo: &Slo) -> Yaml {
    let query = |expr: &Expr| Yaml::query(windowed(&rules.target, expr));
    let events = Yaml::Map(vec![
        ("error_query", query(&slo.bad_rate())),
        ("total_query", query(&slo.total_rate())),
    ]);
    let description = format!("{} of requests {}.", percent(slo.objective), slo.condition);
    Yaml::Map(vec![
        ("name", Yaml::text(&*slo.name)),
        // A percentage, without the rounding error of the multiplication.
        (
            "objective",
            Yaml::Number((slo.objective * 1e12).round() / 1e10),
        ),
        ("description", Yaml::text(description)),
        ("sli", Yaml::Map(vec![("events", events)])),
        ("alerting", alerting(rules, slo)),
    ])
}

fn alerting(rules: &Rules, slo: &Slo) -> Yaml {
    let name = format!("{}{}Burn", rules.prefix, camel_case(&slo.name));
    let mut annotations = vec![(
        "summary",
        Yaml::text(format!(
            "{} is burning the error budget of its {} objective.",
            template_text(&rules.target.job),
            slo.name,
        )),
    )];
    let dashboard = rules.dashboard_url.as_deref();
    annotations.extend(dashboard.map(|url| ("dashboard_url", Yaml::text(url))));
    let alert = |severity, speed: &str| {
        let (label, value) = severity_label(severity);
        let anchor = format!("{name}{speed}").to_lowercase();
        let runbook = format!("{}#{anchor}", rules.runbook_url);
        Yaml::Map(vec![
            ("labels", Yaml::Map(vec![(label, Yaml::text(value))])),
            (
                "annotations",
                Yaml::Map(vec![("runbook_url", Yaml::text(runbook))]),
            ),
        ])
    };
    Yaml::Map(vec![
        ("name", Yaml::text(&*name)),
        ("annotations", Yaml::Map(annotations)),
        ("page_alert", alert(Severity::Page, "Fast")),
        ("ticket_alert", alert(Severity::Ticket, "Slow")),
    ])
}

/// A query in which Sloth replaces the window.
fn windowed(target: &Target, expr: &Expr) -> String {
    template_text(&target.query(expr, WINDOW)).replace(WINDOW, "{{.window}}")
}
