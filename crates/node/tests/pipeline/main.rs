//! The whole pipeline over the dev chain and the mock backend: the promises, end to end.

#[cfg(test)]
mod flip;
#[cfg(test)]
mod house;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod watched;
