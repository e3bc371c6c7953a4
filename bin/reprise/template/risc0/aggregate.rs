reprise_risc0_guests::aggregate!({{ident}}_semantics::Counters);
