//! How a fleet stands, for whoever adds machines to it or takes them away. Pure.

use std::collections::BTreeMap;

use crate::job::{Class, StateName};
use crate::policy::Policy;
use crate::table::Figure;
use crate::worker::{Stand, Worker};

/// What of a class is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The class.
    pub class: Class,
    /// How many jobs are queued.
    pub queued: u64,
    /// How long the oldest of these waits since it was offered first, in milliseconds.
    pub oldest_ms: u64,
    /// How long one machine would take for them, in milliseconds, by what the finished ones of the class took. Nothing
    /// where none of the class is known to be finished.
    pub work_ms: Option<u64>,
}

/// What is to be done, by class. A class of which nothing is queued is there as long as the table knows one of its jobs,
/// so that a figure falls to 0 instead of ending.
pub fn backlog(figures: &[Figure]) -> Vec<Backlog> {
    let mut by_class: BTreeMap<Class, Backlog> = BTreeMap::new();
    for figure in figures {
        let empty = Backlog { class: figure.class, queued: 0, oldest_ms: 0, work_ms: None };
        let backlog = by_class.entry(figure.class).or_insert(empty);
        if figure.state == StateName::Queued {
            (backlog.queued, backlog.oldest_ms) = (figure.jobs, figure.oldest_ms);
        }
    }
    for backlog in by_class.values_mut() {
        let done = |figure: &&Figure| figure.class == backlog.class && figure.state == StateName::Done;
        let mean = figures.iter().find(done).and_then(|figure| figure.mean_ms);
        backlog.work_ms = mean.map(|mean| mean.saturating_mul(backlog.queued));
    }
    by_class.into_values().collect()
}

/// How many workers stand how.
pub fn crew(workers: &[Worker], policy: &Policy, now_ms: u64) -> [(Stand, usize); Stand::ALL.len()] {
    Stand::ALL
        .map(|stand| (stand, workers.iter().filter(|worker| worker.stand(policy, now_ms) == stand).count()))
}

#[cfg(test)]
mod tests {
    use reprise_model::digest::ProfileId;
    use reprise_model::statement::Kind;

    use super::*;
    use crate::worker::{Tally, WorkerName};

    #[test]
    fn the_work_queued_is_what_the_finished_ones_of_the_class_took() {
        let class = |kind| Class { kind, profile: ProfileId([1; 32]), memory: 4, device: None };
        let figure = |kind, state, jobs, mean_ms| Figure {
            class: class(kind),
            state,
            jobs,
            oldest_ms: 100 * jobs,
            mean_ms,
        };
        let found = backlog(&[
            figure(Kind::Batch, StateName::Queued, 3, None),
            figure(Kind::Batch, StateName::Done, 10, Some(500)),
            figure(Kind::Aggregate, StateName::Queued, 2, None),
            figure(Kind::Transaction, StateName::Done, 5, Some(7)),
        ]);
        let of = |kind| *found.iter().find(|backlog| backlog.class == class(kind)).unwrap();
        let batch = of(Kind::Batch);
        assert_eq!((batch.queued, batch.oldest_ms, batch.work_ms), (3, 300, Some(1500)));
        assert_eq!((of(Kind::Aggregate).queued, of(Kind::Aggregate).work_ms), (2, None), "nothing is known");
        assert_eq!((of(Kind::Transaction).queued, of(Kind::Transaction).work_ms), (0, Some(0)));
    }

    #[test]
    fn a_worker_stands_in_one_way_at_a_time() {
        let policy = Policy::default();
        let now = 1_000_000_000;
        let mut workers: Vec<Worker> = ["working", "resting", "evicted", "away"]
            .map(|name| Worker::new(WorkerName::new(name).unwrap()))
            .into();
        for worker in &mut workers[..3] {
            worker.add(&Tally::default(), now);
        }
        let strikes = u64::from(policy.strikes_max);
        workers[1].add(&Tally { rejected: strikes, ..Tally::default() }, now);
        workers[2].add(&Tally { rejected: strikes, ..Tally::default() }, now);
        workers[2].evicted = true;
        for worker in &workers {
            assert_eq!(worker.stand(&policy, now).to_string(), worker.name.as_str());
        }
        assert_eq!(crew(&workers, &policy, now).map(|(_, count)| count), [1; 4]);
    }
}
