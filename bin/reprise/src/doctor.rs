//! `reprise doctor`: the settings in effect, where each came from, and what this build can do.

use serde_json::json;

use crate::backends::{ProofSystems, Verifiers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Prints what it found.
pub(crate) fn doctor(settings: &Settings, systems: &ProofSystems, json: bool) -> Result<Exit, Failure> {
    let verifiers = Verifiers::all(systems)?;
    let remarks = || systems.remarks();
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
        println!("{}", json!({ "settings": settings, "profiles": profiles, "remarks": remarks }));
        return Ok(Exit::Done);
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
    Ok(Exit::Done)
}
