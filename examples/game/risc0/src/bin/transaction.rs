//! Proves one transaction of the game.
reprise_risc0_guests::transaction!(reprise_example_game_semantics::Game);
