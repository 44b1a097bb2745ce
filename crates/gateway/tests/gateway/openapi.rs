//! The OpenAPI document that is checked in.

use service::Environment;

#[test]
fn the_document_in_docs_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let mut served = serde_json::to_string_pretty(&gateway::openapi_document()).unwrap();
    served.push('\n');
    if Environment::from_process().flag("UPDATE_OPENAPI").unwrap() {
        std::fs::write(path, &served).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == served, "docs/openapi.json is old; run this test with UPDATE_OPENAPI=1");
}

#[test]
fn every_schema_that_the_document_speaks_of_is_in_it() {
    let document = gateway::openapi_document();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
