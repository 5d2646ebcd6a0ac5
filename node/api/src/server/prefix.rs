//! The version in front of a path: `/v1.41/info` and `/info` are one route.

use super::API_MIN;

/// What a path asks for.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Asked<'a> {
    /// This route, in the words of this version.
    Route { version: (u16, u16), path: &'a str },
    /// A version that we do not speak yet.
    TooNew(&'a str),
    /// A version that nobody speaks any more.
    TooOld(&'a str),
}

/// Without a version, a path asks for the newest.
pub(super) fn parse(path: &str, newest: (u16, u16)) -> Asked<'_> {
    let whole = Asked::Route { version: newest, path };
    let Some(rest) = path.strip_prefix("/v") else { return whole };
    let Some((text, _)) = rest.split_once('/') else { return whole };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return whole;
    }
    let mut numbers = text.split('.').map(|number| number.parse::<u16>().unwrap_or(u16::MAX));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if newest < version {
        Asked::TooNew(text)
    } else if version < API_MIN {
        Asked::TooOld(text)
    } else {
        Asked::Route { version, path: &rest[text.len()..] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_off_and_checked() {
        let route = |version, path| Asked::Route { version, path };
        for (path, asked) in [
            ("/info", route((1, 50), "/info")),
            ("/v1.41/info", route((1, 41), "/info")),
            ("/v1.24/services/v1.2", route((1, 24), "/services/v1.2")),
            ("/v1.50/", route((1, 50), "/")),
            ("/version", route((1, 50), "/version")),
            ("/vfoo/version", route((1, 50), "/vfoo/version")),
            ("/v1.41", route((1, 50), "/v1.41")),
            ("/v1.99/info", Asked::TooNew("1.99")),
            ("/v99999999/info", Asked::TooNew("99999999")),
            ("/v1.10/info", Asked::TooOld("1.10")),
            ("/v1/info", Asked::TooOld("1")),
        ] {
            assert_eq!(parse(path, (1, 50)), asked, "{path}");
        }
    }
}
