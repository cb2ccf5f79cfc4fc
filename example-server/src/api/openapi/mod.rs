//! The OpenAPI document, made from the handlers.

pub(super) mod responses;

use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, SchemaFormat, Server, Type,
};

use crate::problem;

/// The OpenAPI document as JSON. Created on first use.
pub(crate) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = super::routes().into_openapi();
    complete(&mut document);
    let json = document.to_pretty_json();
    json.expect("keys are strings") + "\n"
});

/// `GET /openapi.json`
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documentation",
    operation_id = "readSpecification",
    summary = "Get the OpenAPI document",
    responses(
        (status = 200, description = "This OpenAPI 3.1 document.", body = Object, content_type = "application/json"),
        responses::Failures,
    ),
)]
pub(super) async fn document() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}

/// Creates the document without operations.
pub(super) fn base() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT"));
    let info = InfoBuilder::new()
        .title("Ticket platform")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sells concert tickets: concerts, purchases and refunds.",
        ))
        .license(Some(license.build()));
    let tags = [
        ("concerts", "Concerts on sale."),
        ("purchases", "Purchases and refunds."),
        ("documentation", "Description of this API."),
    ];
    let tag = |(name, text)| TagBuilder::new().name(name).description(Some(text)).build();
    let token = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Value of `--admin-token`."));
    let request_id = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(128));
    let retry_after = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1));
    let components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(token.build()))
        .schema_from::<problem::Problem>()
        .header(
            "RequestId",
            HeaderBuilder::new()
                .description(Some(
                    "Identifies the request in the server's log. The value of the request's header if it is 1 to \
                     128 visible ASCII characters, otherwise generated.",
                ))
                .schema(Some(request_id))
                .build(),
        )
        .header(
            "RetryAfter",
            HeaderBuilder::new()
                .description(Some("Number of seconds to wait before retrying."))
                .schema(Some(retry_after))
                .build(),
        );
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .tags(Some(tags.map(tag)))
        .components(Some(responses::add_to(components).build()))
        .build()
}

/// Adds what the attributes of the handlers cannot express: the request ID that every response has,
/// the format of `Location`, and the types of problems without an operation.
fn complete(document: &mut OpenApi) {
    document.extensions = Some(responses::other_types());
    let operations = document.paths.paths.values_mut().flat_map(|path| {
        let methods = [&mut path.get, &mut path.post, &mut path.delete];
        methods.into_iter().flatten()
    });
    let responses = operations.flat_map(|it| it.responses.responses.values_mut());
    for response in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let headers = &mut response.headers;
        let request_id = Ref::new("#/components/headers/RequestId");
        headers.insert("x-request-id".to_owned(), RefOr::Ref(request_id));
        if let Some(RefOr::T(location)) = headers.get_mut("Location") {
            let url = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::Custom("uri-reference".to_owned())));
            location.schema = Some(url.into());
        }
    }
}
