//! Tells the crate where the recursion programs of this build are from, as the crate that holds them says.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_RISC0_RECURSION_PROGRAMS_SOURCE");
    if let Ok(source) = std::env::var("DEP_RISC0_RECURSION_PROGRAMS_SOURCE") {
        println!("cargo:rustc-env=REPRISE_RECURSION_PROGRAMS={source}");
    }
}
