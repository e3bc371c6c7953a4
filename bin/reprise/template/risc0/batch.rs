reprise_risc0_guests::batch!({{ident}}_semantics::Counters);
