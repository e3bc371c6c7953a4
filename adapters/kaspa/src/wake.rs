//! A wake-up: a notification without content.
//!
//! A node notifies of every change of its chain, and many notifications mean the same as one: ask what changed. So a task
//! takes notifications as fast as they come and keeps at most one pending. A follower that is busy while thousands come
//! asks once more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Receiver;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// At most one pending wake-up.
pub struct WakeUp {
    pending: Arc<Notify>,
    drain: AbortHandle,
}

impl fmt::Debug for WakeUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WakeUp")
    }
}

impl WakeUp {
    /// Wakes on these notifications, whatever their content. Needs a tokio runtime.
    pub fn on<T: Send + 'static>(notifications: Receiver<T>) -> Self {
        let pending = Arc::new(Notify::new());
        let heard = pending.clone();
        let drain = tokio::spawn(async move {
            while notifications.recv().await.is_ok() {
                heard.notify_one();
            }
        });
        Self { pending, drain: drain.abort_handle() }
    }

    /// Waits for a wake-up, for at most `at_most`. Returns whether there was one. A pending one is taken at once.
    pub async fn wait(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.pending.notified()).await.is_ok()
    }
}

impl Drop for WakeUp {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn ten_thousand_notifications_while_the_follower_is_busy_cost_one_request() {
        let (sender, receiver) = async_channel::unbounded();
        let wake = WakeUp::on(receiver);
        let mut questions = 0;
        for burst in 0..3 {
            // The follower is busy: it does not wait while they come.
            for _ in 0..10_000 {
                sender.send(()).await.unwrap();
            }
            while !sender.is_empty() {
                tokio::task::yield_now().await;
            }
            while wake.wait(if questions == burst { FOR_EVER } else { Duration::ZERO }).await {
                questions += 1;
            }
            assert_eq!(questions, burst + 1);
        }
    }

    #[tokio::test]
    async fn a_node_that_sends_nothing_more_causes_no_wake_up() {
        let (sender, receiver) = async_channel::unbounded::<()>();
        let wake = WakeUp::on(receiver);
        drop(sender);
        tokio::task::yield_now().await;
        assert!(!wake.wait(Duration::ZERO).await);
    }
}
