//! The words of the house: what they encode to, and what each digest depends on.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod digests;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod receipts;
