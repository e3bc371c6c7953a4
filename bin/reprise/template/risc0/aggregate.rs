reprise_risc0_guests::aggregate!();
