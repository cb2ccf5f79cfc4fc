//! Error responses that the operations share, by status.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::extensions::{Extensions, ExtensionsBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Type};
use utoipa::{IntoResponses, ToSchema};

use crate::problem::types::{self, ProblemType};
use crate::problem::{Problem, examples};

/// Responses by status, as an operation has them.
type ByStatus = BTreeMap<String, RefOr<Response>>;

/// Declares a type per response, for the `responses` of an operation.
macro_rules! responses {
    ($($name:ident = $status:literal, $description:literal;)*) => {
        $(
            #[doc = $description]
            pub(in crate::api) struct $name;

            impl IntoResponses for $name {
                fn responses() -> ByStatus {
                    let reference = Ref::from_response_name(stringify!($name));
                    [($status.to_string(), reference.into())].into()
                }
            }
        )*

        /// Name, status and description of each response.
        const RESPONSES: &[(&str, u16, &str)] = &[$((stringify!($name), $status, $description)),*];
    };
}

responses! {
    Malformed = 400, "The request cannot be parsed.";
    Unauthorized = 401, "The admin token is missing or wrong.";
    PaymentDeclined = 402, "The payment was declined.";
    Forbidden = 403, "The server does not accept this change.";
    NotFound = 404, "The resource does not exist.";
    BodyTimeout = 408, "The request body did not arrive in time.";
    Conflict = 409, "The tickets cannot be bought.";
    TooLarge = 413, "The request body is too large.";
    NotJson = 415, "The Content-Type is not JSON, or the body has a Content-Encoding.";
    Invalid = 422, "A value is not allowed.";
    HeadTooLarge = 431, "The request head is larger than 16 KiB. The response has no body and closes the connection.";
    InternalError = 500, "The server failed.";
    Unavailable = 503, "The server cannot handle the request at the moment.";
    Timeout = 504, "The request timed out.";
}

/// Responses of every operation, from the HTTP parser and the layers around the handlers.
pub(in crate::api) struct Failures;

impl IntoResponses for Failures {
    fn responses() -> ByStatus {
        let all = [
            Malformed::responses(),
            BodyTimeout::responses(),
            TooLarge::responses(),
            HeadTooLarge::responses(),
            InternalError::responses(),
            Unavailable::responses(),
            Timeout::responses(),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Adds the responses, with an example of every problem type, and the types that no operation has.
pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let examples = examples();
    RESPONSES
        .iter()
        .fold(components, |components, &(name, status, description)| {
            components.response(name, response(status, description, &examples))
        })
}

/// Types of problems with a status that no operation has: 405, of methods that are not operations.
pub(super) fn other_types() -> Extensions {
    let documented = |it: &ProblemType| RESPONSES.iter().any(|(_, status, _)| it.status == *status);
    let others = types::API.iter().filter(|it| !documented(it));
    let text = |it: &&ProblemType| (it.id, format!("{}: {}", it.status.as_u16(), it.help));
    let types: Value = others.map(text).collect();
    ExtensionsBuilder::new()
        .add("x-problem-types", types)
        .build()
}

fn response(status: u16, description: &str, examples: &[Problem]) -> Response {
    let examples: Vec<_> = examples
        .iter()
        .filter(|it| it.problem_type().status == status)
        .collect();
    let response = ResponseBuilder::new().description(description);
    if examples.is_empty() {
        return response.build();
    }
    let types = examples.iter().map(|it| it.problem_type());
    let types: Value = types.map(|it| (it.id, it.help)).collect();
    let types = ExtensionsBuilder::new().add("x-problem-types", types);
    let response = response
        .extensions(Some(types.build()))
        .header_ref("x-request-id", Ref::new("#/components/headers/RequestId"))
        .content("application/problem+json", content(&examples));
    if status == StatusCode::UNAUTHORIZED {
        let bearer = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["Bearer"]));
        let header = HeaderBuilder::new().schema(Some(bearer)).build();
        return response.header("WWW-Authenticate", header).build();
    }
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let identity = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["identity"]));
        let header = HeaderBuilder::new()
            .schema(Some(identity))
            .description(Some("Only if the body has a Content-Encoding."))
            .build();
        return response.header("Accept-Encoding", header).build();
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let wait = Ref::new("#/components/headers/RetryAfter");
        return response.header_ref("Retry-After", wait).build();
    }
    response.build()
}

fn content(examples: &[&Problem]) -> utoipa::openapi::Content {
    let named = examples.iter().map(|problem| {
        let problem_type = problem.problem_type();
        let value = serde_json::to_value(problem).expect("a problem has no maps");
        let example = ExampleBuilder::new()
            .summary(problem_type.title)
            .value(Some(value));
        (problem_type.id, example.build())
    });
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Problem::name())))
        .examples_from_iter(named)
        .build()
}
