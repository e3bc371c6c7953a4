//! Requests that many threads make at a time, made as one.
//!
//! Whoever asks while a request is under way waits for the next, which takes everything that came meanwhile. So a request waits
//! for one other at most, and a table is asked the less often the more there is to ask.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::table::JobsError;

/// So many are made one request, at most.
const TOGETHER_MAX: usize = 64;

type Answer<A> = Result<A, JobsError>;

struct Waiting<Q, A> {
    /// The number of the next who asks.
    next: u64,
    asked: Vec<(u64, Q)>,
    answered: BTreeMap<u64, Answer<A>>,
    /// Whether a request is under way.
    busy: bool,
}

/// Questions that are asked together.
pub(crate) struct Together<Q, A> {
    waiting: Mutex<Waiting<Q, A>>,
    changed: Condvar,
}

impl<Q, A> Default for Together<Q, A> {
    fn default() -> Self {
        let waiting = Waiting { next: 0, asked: vec![], answered: BTreeMap::new(), busy: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }
}

impl<Q: Clone, A> Together<Q, A> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<Q, A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one question. `request` asks several, and answers each, in their order.
    pub(crate) fn ask(&self, question: Q, request: impl Fn(&[Q]) -> Answer<Vec<A>>) -> Answer<A> {
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.asked.push((number, question));
        loop {
            if let Some(answer) = waiting.answered.remove(&number) {
                return answer;
            }
            if waiting.busy {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            waiting.busy = true;
            let count = waiting.asked.len().min(TOGETHER_MAX);
            let (numbers, questions): (Vec<u64>, Vec<Q>) = waiting.asked.drain(..count).unzip();
            drop(waiting);
            let mut answers = Answers { together: self, numbers, answers: vec![] };
            answers.answers = each(&questions, &request);
            drop(answers);
            waiting = self.waiting();
        }
    }
}

/// The answer to each. One question that cannot be answered costs the others nothing.
fn each<Q, A>(questions: &[Q], request: &dyn Fn(&[Q]) -> Answer<Vec<A>>) -> Vec<Answer<A>> {
    match request(questions) {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if questions.len() == 1 || error.is_transient() => {
            questions.iter().map(|_| Err(error.clone())).collect()
        }
        Err(_) => questions.iter().flat_map(|one| each(std::slice::from_ref(one), request)).collect(),
    }
}

/// Gives the answers out when it is dropped: also where the request panicked, so that nobody waits for ever.
struct Answers<'t, Q: Clone, A> {
    together: &'t Together<Q, A>,
    numbers: Vec<u64>,
    answers: Vec<Answer<A>>,
}

impl<Q: Clone, A> Drop for Answers<'_, Q, A> {
    fn drop(&mut self) {
        let mut waiting = self.together.waiting();
        let mut answers = std::mem::take(&mut self.answers).into_iter();
        for number in std::mem::take(&mut self.numbers) {
            let answer = answers.next().unwrap_or_else(|| Err(unanswered()));
            waiting.answered.insert(number, answer);
        }
        waiting.busy = false;
        drop(waiting);
        self.together.changed.notify_all();
    }
}

fn unanswered() -> JobsError {
    JobsError::Refused { at: "here".into(), reason: "the request was not ended".into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    /// Asks `count` questions while a first request is under way, and lets that end when all of them wait.
    fn during(count: u64, request: impl Fn(&[u64]) -> Answer<Vec<u64>> + Sync) -> Vec<Answer<u64>> {
        let (together, entered, ended) = (Together::default(), Barrier::new(2), Barrier::new(2));
        let first = |numbers: &[u64]| {
            entered.wait();
            ended.wait();
            Ok(numbers.to_vec())
        };
        thread::scope(|scope| {
            scope.spawn(|| together.ask(0, first));
            entered.wait();
            let asking: Vec<_> = (1..=count)
                .map(|number| {
                    scope.spawn({
                        let (together, request) = (&together, &request);
                        move || together.ask(number, request)
                    })
                })
                .collect();
            while together.waiting().asked.len() < count as usize {
                thread::yield_now();
            }
            ended.wait();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect()
        })
    }

    #[test]
    fn what_is_asked_while_a_request_is_under_way_is_one_request() {
        let (tell, told) = channel();
        let answers = during(20, |numbers| {
            tell.send(numbers.len()).unwrap();
            Ok(numbers.iter().map(|number| number * 10).collect())
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [20]);
        assert_eq!(
            answers,
            (1..=20).map(|number| Ok(number * 10)).collect::<Vec<_>>(),
            "each has its own answer"
        );
    }

    #[test]
    fn no_request_has_more_than_its_bound() {
        let (tell, told) = channel();
        let count = TOGETHER_MAX as u64 + 3;
        let answers = during(count, |numbers| {
            tell.send(numbers.len()).unwrap();
            Ok(numbers.to_vec())
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [TOGETHER_MAX, 3]);
        assert_eq!(answers, (1..=count).map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn one_question_that_cannot_be_answered_costs_the_others_nothing() {
        let damaged = |id: u64| JobsError::Damaged { at: "here".into(), id: id.to_string(), field: "kind" };
        let answers = during(5, |numbers| match numbers.contains(&3) {
            true => Err(damaged(3)),
            false => Ok(numbers.to_vec()),
        });
        assert_eq!(answers, [Ok(1), Ok(2), Err(damaged(3)), Ok(4), Ok(5)]);
    }

    #[test]
    fn whoever_is_asked_with_a_request_that_panics_does_not_wait_for_ever() {
        let together = Together::<u64, u64>::default();
        let asked = catch_unwind(AssertUnwindSafe(|| together.ask(1, |_| std::panic::panic_any("no"))));
        assert!(asked.is_err());
        assert_eq!(together.ask(2, |numbers| Ok(numbers.to_vec())), Ok(2));
    }
}
