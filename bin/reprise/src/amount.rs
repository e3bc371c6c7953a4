//! Amounts of KAS, as people write them.

/// Sompi in one KAS.
const KAS: u64 = 100_000_000;

/// An amount in KAS, and in sompi.
pub(crate) fn kas(sompi: u64) -> String {
    let (whole, rest) = (sompi / KAS, sompi % KAS);
    let fraction = format!("{rest:08}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{whole}{point}{fraction} KAS ({sompi} sompi)")
}

#[cfg(feature = "kaspa")]
/// Reads `1.5`, an amount in KAS with up to eight decimals, or `150000000sompi`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no amount: say KAS with up to eight decimals, such as 1.5, or sompi, such as 150000000sompi"
        )
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(sompi) = text.strip_suffix("sompi") {
        return sompi.parse().ok().filter(|_| digits(sompi)).ok_or_else(wrong);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > 8 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = format!("{fraction:0<8}").parse().map_err(|_| wrong())?;
    whole.checked_mul(KAS).and_then(|sompi| sompi.checked_add(fraction)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "kaspa")]
    #[test]
    fn an_amount_is_read_as_it_is_written_and_nothing_else_is_one() {
        for (text, sompi) in [
            ("0", 0),
            ("1", KAS),
            ("1.5", 150_000_000),
            ("0.00000001", 1),
            ("007.10", 710_000_000),
            ("184467440737.09551615", u64::MAX),
            ("20000000sompi", 20_000_000),
            ("0sompi", 0),
        ] {
            assert_eq!(parse(text), Ok(sompi), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,5",
            "1e3",
            "0.000000001",
            "184467440737.09551616",
            "1 KAS",
            "sompi",
            "1.5sompi",
            "+1sompi",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_amount_is_written_in_kas_and_in_sompi() {
        assert_eq!(kas(0), "0 KAS (0 sompi)");
        assert_eq!(kas(3_000_000_000), "30 KAS (3000000000 sompi)");
        assert_eq!(kas(1), "0.00000001 KAS (1 sompi)");
        assert_eq!(kas(150_000_000), "1.5 KAS (150000000 sompi)");
    }
}
