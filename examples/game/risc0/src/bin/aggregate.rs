//! Proves a run of batches of the game: by their proofs, or by itself.
reprise_risc0_guests::aggregate!(reprise_example_game_semantics::Game);
