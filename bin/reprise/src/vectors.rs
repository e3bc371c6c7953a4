//! The vector units of the machine's processor: those that this program was compiled to use, and those that there are.
//!
//! The provers' field arithmetic has a version for AVX2 and one for AVX-512, chosen when it is compiled. A program that was
//! compiled for units which a processor lacks ends there at an illegal instruction, without a word. So [`checked`] comes before
//! anything else.

use crate::failure::Failure;
use reprise_node::finding::{Finding, Verdict};

/// Those that the provers have versions for.
const FAST: [&str; 2] = ["avx2", "avx512f"];

/// A unit: whether this program was compiled to use it, and whether the processor has it.
struct Unit {
    name: &'static str,
    is_used: bool,
    is_there: bool,
}

/// The standard library takes what a program was compiled for as there, so the processor itself is asked.
#[cfg(target_arch = "x86_64")]
fn units() -> Vec<Unit> {
    let processor = raw_cpuid::CpuId::new();
    let (basic, extended) = (processor.get_feature_info(), processor.get_extended_feature_info());
    let basic = |has: fn(&raw_cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(has);
    let extended = |has: fn(&raw_cpuid::ExtendedFeatures) -> bool| extended.as_ref().is_some_and(has);
    let unit = |name, is_used, is_there| Unit { name, is_used, is_there };
    vec![
        unit("avx", cfg!(target_feature = "avx"), basic(|it| it.has_avx())),
        unit("fma", cfg!(target_feature = "fma"), basic(|it| it.has_fma())),
        unit("avx2", cfg!(target_feature = "avx2"), extended(|it| it.has_avx2())),
        unit("bmi2", cfg!(target_feature = "bmi2"), extended(|it| it.has_bmi2())),
        unit("avx512f", cfg!(target_feature = "avx512f"), extended(|it| it.has_avx512f())),
        unit("avx512bw", cfg!(target_feature = "avx512bw"), extended(|it| it.has_avx512bw())),
        unit("avx512dq", cfg!(target_feature = "avx512dq"), extended(|it| it.has_avx512dq())),
        unit("avx512vl", cfg!(target_feature = "avx512vl"), extended(|it| it.has_avx512vl())),
        unit("avx512vbmi2", cfg!(target_feature = "avx512vbmi2"), extended(|it| it.has_avx512vbmi2())),
    ]
}

/// Other processors' units belong to what is compiled for at all.
#[cfg(not(target_arch = "x86_64"))]
fn units() -> Vec<Unit> {
    vec![]
}

/// Fails where the processor lacks what this program was compiled to use.
pub(crate) fn checked() -> Result<(), Failure> {
    match named(&units(), |unit| unit.is_used && !unit.is_there) {
        Some(missing) => Err(Failure::Processor { missing }),
        None => Ok(()),
    }
}

/// The finding of `doctor`; none on processors of which nothing is known.
pub(crate) fn examined() -> Vec<Finding> {
    finding(&units()).into_iter().collect()
}

fn finding(units: &[Unit]) -> Option<Finding> {
    let fast = |is_meant: fn(&Unit) -> bool| named(units, |unit| FAST.contains(&unit.name) && is_meant(unit));
    let there = fast(|unit| unit.is_there)?;
    let (used, unused) = (fast(|unit| unit.is_used), fast(|unit| unit.is_there && !unit.is_used));
    let used = used.map_or("compiled for none of them".into(), |used| format!("compiled for {used}"));
    Some(Finding {
        what: "vectors",
        verdict: Verdict::Ok,
        said: format!("the processor has {there}; {used}"),
        advice: if unused.is_some() {
            "compiled with RUSTFLAGS=-Ctarget-cpu=native it uses all of them (with AVX-512 Miden's proofs take 0.4 of the time), and \
             runs on such processors alone"
        } else {
            ""
        },
    })
}

fn named(units: &[Unit], is_meant: impl Fn(&Unit) -> bool) -> Option<String> {
    let names: Vec<_> = units.iter().filter(|unit| is_meant(unit)).map(|unit| unit.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &'static str, is_used: bool, is_there: bool) -> Unit {
        Unit { name, is_used, is_there }
    }

    #[test]
    fn a_program_that_uses_what_the_processor_lacks_says_what() {
        let units = [unit("fma", true, true), unit("avx2", true, false), unit("avx512f", false, false)];
        let missing = named(&units, |unit| unit.is_used && !unit.is_there);
        assert_eq!(missing.as_deref(), Some("avx2"));
        let error = Failure::Processor { missing: missing.unwrap_or_default() };
        assert!(error.to_string().contains("avx2") && error.hint("reprise").is_some());
        assert!(checked().is_ok(), "and this one runs");
    }

    #[test]
    fn units_that_are_there_and_not_used_are_told_of_and_nothing_else() {
        let said = |units: &[Unit]| finding(units).map(|it| (it.said, it.advice.is_empty()));
        assert_eq!(said(&[unit("bmi2", true, true)]), None);
        let portable = said(&[unit("avx2", false, true), unit("avx512f", false, false)]);
        assert_eq!(portable, Some(("the processor has avx2; compiled for none of them".into(), false)));
        let native = said(&[unit("avx2", true, true), unit("avx512f", true, true)]);
        assert_eq!(
            native,
            Some(("the processor has avx2, avx512f; compiled for avx2, avx512f".into(), true))
        );
    }
}
