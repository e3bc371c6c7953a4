//! `reprise doctor`: the settings in effect, where each came from, what this build can do, and the state of the node and of the
//! data directory that they name. A run may hold the directory meanwhile.

use serde_json::json;

use crate::backends::{ProofSystems, Verifiers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::{L1, Settings};
use crate::{choose, directory, kaspa, vectors};
use reprise_node::finding::{Finding, Verdict};

/// Prints the report. Fails where a run would fail.
pub(crate) fn doctor(settings: &Settings, systems: &ProofSystems, json: bool) -> Result<Exit, Failure> {
    choose::check_node(settings)?;
    let verifiers = Verifiers::all(systems)?;
    let remarks = || systems.remarks();
    let chosen = choose::backend(settings, systems)?;
    let node = match &settings.l1.source {
        L1::Kaspa(_) => kaspa::examined(settings, &chosen)?,
        _ => vec![],
    };
    let directory = directory::checked(settings, systems, &chosen)?;
    let failed = |lines: &[Finding]| lines.iter().any(|line| line.verdict == Verdict::Failed);
    let exit = Exit::done_if(!failed(&node) && !failed(&directory));
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
        let line = |line: &Finding| {
            json!({
                "what": line.what, "verdict": line.verdict.name(), "said": line.said, "advice": line.advice,
            })
        };
        let lines = |of: &[Finding]| of.iter().map(line).collect::<Vec<_>>();
        println!(
            "{}",
            json!({
                "settings": settings, "profiles": profiles, "remarks": remarks, "node": lines(&node),
                "directory": lines(&directory), "processor": lines(&vectors::examined()),
            })
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
    let processor = vectors::examined();
    for (of, lines) in [("the processor", processor), ("the node", node), ("the data directory", directory)] {
        if !lines.is_empty() {
            println!("\n{of}");
        }
        for Finding { what, verdict, said, advice } in lines {
            println!("  {:<8} {what:<11} {said}", verdict.name());
            if !advice.is_empty() {
                println!("  {:<20} {advice}", "");
            }
        }
    }
    Ok(exit)
}
