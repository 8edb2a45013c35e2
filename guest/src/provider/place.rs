//! Where an account of a cloud is -> the base URL.
//!
//! Before: a row's base URL, with places for a region and a project. After: the host allows that address, and `dialect` asks
//! there. Invariant: what takes a place is one label of a host's name or one segment of a path, and nothing else.

use std::borrow::Cow;

/// The region that is every region: it has no place in a host's name.
/// <https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations#global-endpoint> (2026-11)
const GLOBAL: &str = "global";

/// Why a base URL has a place left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// Nobody has named what belongs there: `region` or `project`.
    Missing(&'static str),
    /// What is named as the `region` or the `project` cannot stand there.
    Odd(&'static str, String),
}

/// Puts a region and a project into their places. `{region}-` before a host's name falls away where the region is `global`.
///
/// # Errors
/// If a place has nothing to go there, or something that cannot.
pub fn placed<'b>(base: &'b str, region: Option<&str>, project: Option<&str>) -> Result<Cow<'b, str>, Unplaced> {
    let mut base = Cow::Borrowed(base);
    if region == Some(GLOBAL) && base.contains("{region}-") {
        base = Cow::Owned(base.replace("{region}-", ""));
    }
    for (name, place, value, more) in [("region", "{region}", region, "-"), ("project", "{project}", project, "-_.:")] {
        if !base.contains(place) {
            continue;
        }
        let value = value.filter(|value| !value.is_empty()).ok_or(Unplaced::Missing(name))?;
        if value.chars().any(|letter| !letter.is_ascii_alphanumeric() && !more.contains(letter)) {
            return Err(Unplaced::Odd(name, value.escape_debug().to_string()));
        }
        base = Cow::Owned(base.replace(place, value));
    }
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERTEX: &str = "https://{region}-aiplatform.example/v1/projects/{project}/locations/{region}";

    #[test]
    fn a_region_and_a_project_take_their_places() {
        let there = |region, project| placed(VERTEX, Some(region), Some(project)).unwrap().into_owned();
        assert_eq!(there("us-west1", "p-1"), "https://us-west1-aiplatform.example/v1/projects/p-1/locations/us-west1");
        assert_eq!(there("global", "x.y:p"), "https://aiplatform.example/v1/projects/x.y:p/locations/global");
        assert_eq!(placed("https://a/v1", None, None), Ok(Cow::Borrowed("https://a/v1")));
    }

    #[test]
    fn what_cannot_stand_in_a_place_is_refused() {
        assert_eq!(placed(VERTEX, None, Some("p")), Err(Unplaced::Missing("region")));
        assert_eq!(placed(VERTEX, Some("us-west1"), Some("")), Err(Unplaced::Missing("project")));
        for (region, project) in [("evil.example/x", "p"), ("us@", "p"), ("us-west1", "p/../q"), ("us-west1", "p\n")] {
            assert!(
                matches!(placed(VERTEX, Some(region), Some(project)), Err(Unplaced::Odd(..))),
                "{region} {project}"
            );
        }
    }
}
