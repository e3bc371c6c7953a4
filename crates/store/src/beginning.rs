//! The beginning of an id: as much of it as people type.

use std::ops::RangeInclusive;

use reprise_model::digest::Digest;

/// How an id begins, in hexadecimal: as it is printed, with its prefix or without, and with … or without.
///
/// ```
/// use reprise_store::beginning::{Beginning, Fitting};
/// use reprise_model::digest::Digest;
///
/// let beginning = Beginning::parse("stm:", "stm:07…").unwrap();
/// let ids = [Digest([7; 32]), Digest([8; 32])];
/// assert_eq!(beginning.of(ids.iter(), |id| **id), Fitting::One(&ids[0]));
/// assert_eq!(Beginning::parse("stm:", "x"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    hex: String,
    range: RangeInclusive<Digest>,
}

/// What begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitting<T> {
    /// Nothing.
    None,
    /// One.
    One(T),
    /// Several.
    Several,
}

impl Beginning {
    /// Reads it. `None` for what no id begins with.
    pub fn parse(prefix: &str, text: &str) -> Option<Self> {
        let hex = text.strip_prefix(prefix).unwrap_or(text).trim_end_matches('…').to_ascii_lowercase();
        if hex.is_empty() {
            return None;
        }
        let left = 64_usize.checked_sub(hex.len())?;
        let filled = |fill: &str| Digest::from_hex(&format!("{hex}{}", fill.repeat(left))).ok();
        let range = filled("0")?..=filled("f")?;
        Some(Self { hex, range })
    }

    /// It, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The lowest and the highest id that begins so.
    pub fn range(&self) -> &RangeInclusive<Digest> {
        &self.range
    }

    /// The one of these whose id begins so.
    pub fn of<T>(&self, all: impl IntoIterator<Item = T>, id: impl Fn(&T) -> Digest) -> Fitting<T> {
        let mut fitting = all.into_iter().filter(|it| self.range.contains(&id(it)));
        match (fitting.next(), fitting.next()) {
            (None, _) => Fitting::None,
            (Some(one), None) => Fitting::One(one),
            (Some(_), Some(_)) => Fitting::Several,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_hexadecimal_and_no_longer_than_an_id() {
        let of = |text: &str| Beginning::parse("blk:", text).map(|it| it.hex);
        for text in ["Ab3", "blk:ab3", "ab3…", "blk:AB3…"] {
            assert_eq!(of(text), Some("ab3".into()), "{text}");
        }
        for text in ["", "blk:", "…", "stm:ab", "xy", &"a".repeat(65)] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn an_odd_number_of_characters_is_a_beginning_too() {
        let (low, high) = (Digest([0x7f; 32]), Digest([0x71; 32]));
        let beginning = Beginning::parse("", "7").unwrap();
        assert_eq!(beginning.of([low, high], |id| *id), Fitting::Several);
        assert_eq!(Beginning::parse("", "7f7").unwrap().of([low, high], |id| *id), Fitting::One(low));
        assert_eq!(Beginning::parse("", "8").unwrap().of([low, high], |id| *id), Fitting::None);
    }
}
