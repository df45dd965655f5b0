//! The page: one document with its style and its script in it, and the headers that hold it to them.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");
const DOCUMENT: &str = include_str!("../page/page.html");

/// Where the style and the script belong in the document.
const STYLE_PLACE: &str = "/* style */";
const SCRIPT_PLACE: &str = "/* script */";

/// The page as it is sent.
#[derive(Debug)]
pub struct Page {
    /// The document, HTML in UTF-8.
    pub html: String,
    /// Its `Content-Security-Policy`: this style, this script, questions to where it came from, and nothing else.
    pub policy: String,
}

/// The page, which is always the same.
pub fn page() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
        html: DOCUMENT.replacen(STYLE_PLACE, STYLE, 1).replacen(SCRIPT_PLACE, SCRIPT, 1),
        policy: format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            source(STYLE),
            source(SCRIPT)
        ),
    });
    &PAGE
}

/// The name of an inlined text in a policy.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands between an opening tag and the closing one.
    fn inside<'a>(html: &'a str, tag: &str) -> &'a str {
        let (_, rest) = html.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once(&format!("</{tag}>")).unwrap().0
    }

    #[test]
    fn the_policy_names_what_the_document_has() {
        let Page { html, policy } = page();
        for tag in ["style", "script"] {
            assert_eq!(html.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(policy.contains(&source(inside(html, tag))), "{tag}");
        }
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_document_needs_nothing_from_elsewhere_and_makes_no_markup_of_data() {
        let html = &page().html;
        for wrong in [
            "http:",
            "https:",
            "src=",
            "href=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "new Function",
            " style=",
            " onclick",
            "setAttribute(\"on",
        ] {
            assert!(!html.contains(wrong), "{wrong}");
        }
    }
}
