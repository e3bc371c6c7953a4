//! `reprise doctor`: the settings in effect, where each came from, what this build can do, and the state of the node that
//! they name.

use serde_json::json;

use crate::backends::{ProofSystems, Verifiers};
use crate::checked::Checked;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::{L1, Settings};
use crate::{choose, kaspa};

/// Prints the report. Fails where a run would fail.
pub(crate) fn doctor(settings: &Settings, systems: &ProofSystems, json: bool) -> Result<Exit, Failure> {
    let verifiers = Verifiers::all(systems)?;
    let remarks = || systems.remarks();
    let checked = match &settings.l1.source {
        L1::Kaspa(_) => kaspa::examined(settings, &choose::backend(settings, systems)?)?,
        _ => vec![],
    };
    let exit = Exit::done_if(!checked.iter().any(|line| line.failed));
    if json {
        let settings: Vec<_> = settings
            .origins()
            .iter()
            .map(|o| json!({ "setting": o.name, "value": o.value, "from": o.from }))
            .collect();
        let profiles: Vec<_> = verifiers
            .profiles()
            .map(|p| json!({ "id": p.id().to_string(), "profile": p.to_string() }))
            .collect();
        let remarks: Vec<_> =
            remarks().map(|(name, said)| json!({ "backend": name, "remark": said })).collect();
        let checked: Vec<_> = checked
            .iter()
            .map(|line| {
                json!({ "what": line.what, "verdict": line.verdict, "said": line.said, "advice": line.advice })
            })
            .collect();
        println!(
            "{}",
            json!({ "settings": settings, "profiles": profiles, "remarks": remarks, "node": checked })
        );
        return Ok(exit);
    }
    println!("settings");
    for origin in settings.origins() {
        println!("  {:<22} {:<28} {}", origin.name, origin.value, origin.from);
    }
    println!("\nproof profiles this build proves and verifies");
    for profile in verifiers.profiles() {
        println!("  {profile}\n    {}", profile.id());
    }
    for (name, said) in remarks() {
        println!("\n--backend {name}: {said}");
    }
    if !checked.is_empty() {
        println!("\nthe node");
    }
    for Checked { what, verdict, said, advice, .. } in &checked {
        println!("  {verdict:<8} {what:<10} {said}");
        if !advice.is_empty() {
            println!("  {:<19} {advice}", "");
        }
    }
    Ok(exit)
}
