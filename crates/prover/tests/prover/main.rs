//! The prover room: the job machine under random histories, and the mock against forged witnesses.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod workers;
