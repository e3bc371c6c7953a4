//! Proves a run of a block's transactions of the game.
reprise_risc0_guests::batch!(reprise_example_game_semantics::Game);
