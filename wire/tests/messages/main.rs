//! Every message of both hops: against its golden file, and generated ones against themselves.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod samples;
