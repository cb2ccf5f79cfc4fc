//! An example of every problem type of the API, for its documentation.

use std::time::Duration;

use http::{Method, Uri};
use ticket_core::policy::Operation;
use ticket_core::{Error, PurchaseId};

use super::{Problem, internal, timeout, types, unsupported};

/// Returns an example of every problem type of the API: the text of a real response.
pub(crate) fn examples() -> Vec<Problem> {
    let path = Uri::from_static("/concerts");
    let id = "0192a7c4-5d1e-7b36-9a55-0c1f3a7be901";
    let purchase: PurchaseId = id.parse().expect("a UUID");
    let busy = "the database is busy, try again in 1s";
    vec![
        Problem::malformed_field(
            "limit",
            "\"ten\" is not an integer, expected an integer from 1 to 100",
        ),
        Problem::unauthorized(),
        Error::Declined.into(),
        Problem::changes_disabled(),
        Problem::host_not_allowed(),
        Error::NotFound {
            what: "concert",
            id: id.to_owned(),
        }
        .into(),
        unsupported(&Method::PUT, &path),
        Problem::body_timeout(),
        Error::SoldOut { available: 3 }.into(),
        Error::NotOnSale {
            from: None,
            until: "2030-01-01T20:00:00Z".parse().expect("a time"),
        }
        .into(),
        Error::PerBuyerLimit { limit: 4, held: 3 }.into(),
        Problem::too_large("the limit is 65536 bytes"),
        Problem::not_json(),
        Problem::encoded(),
        Problem::invalid(
            "quantity",
            "11 is not allowed: expected an integer from 1 to 10",
        ),
        Error::KeyReused.into(),
        internal(),
        Error::Injected {
            operation: Operation::Payment,
        }
        .into(),
        Problem::overloaded(),
        Problem::new(&types::DATABASE_BUSY, busy).retry_after(Duration::from_secs(1)),
        Error::OutcomeUnknown {
            purchase,
            source: None,
        }
        .into(),
        timeout(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_type_of_the_api_has_one_example() {
        let examples = examples();
        let ids = examples.iter().map(|it| it.problem_type().id);
        let types = types::API.iter().map(|it| it.id);
        assert_eq!(ids.collect::<Vec<_>>(), types.collect::<Vec<_>>());
    }

    #[test]
    fn an_id_names_one_type() {
        let mut ids: Vec<_> = types::API
            .iter()
            .chain(types::OPS)
            .map(|it| it.id)
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
