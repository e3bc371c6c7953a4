reprise_risc0_guests::transaction!({{ident}}_semantics::Counters);
