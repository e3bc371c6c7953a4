//! A notification wakes whoever waits for jobs. It may be lost, because it only says that looking is worth while.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_postgres::AsyncMessage;

use crate::address::Address;

/// How long to wait before listening again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

#[derive(Default)]
struct Heard {
    turn: u64,
    /// Whether notifications are listened for, or cannot be; nothing where that is being tried for the first time.
    tried: bool,
    started: bool,
}

/// Counts notifications.
#[derive(Default)]
pub(crate) struct Bell {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Bell {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those here.
    pub(crate) fn strike(&self) {
        self.heard().turn += 1;
        self.changed.notify_all();
    }

    fn has_tried(&self) {
        self.heard().tried = true;
        self.changed.notify_all();
    }

    /// Whether nobody has asked for notifications before: then they have to be listened for.
    pub(crate) fn is_first(&self) -> bool {
        !std::mem::replace(&mut self.heard().started, true)
    }

    /// How often something was told, once notifications are listened for or cannot be.
    pub(crate) fn turn(&self, patience: Duration) -> u64 {
        let waited = self.changed.wait_timeout_while(self.heard(), patience, |heard| !heard.tried);
        waited.map_or_else(|poisoned| poisoned.into_inner().0.turn, |(heard, _)| heard.turn)
    }

    pub(crate) fn wait(&self, turn: u64, patience: Duration) {
        drop(self.changed.wait_timeout_while(self.heard(), patience, |heard| heard.turn == turn));
    }
}

/// Listens, for as long as the runtime lives.
pub(crate) async fn listen(bell: Arc<Bell>, address: Address) {
    let mut wait = AGAIN.0;
    if !address.listens {
        return bell.has_tried();
    }
    loop {
        if listen_once(&bell, &address).await.is_ok() {
            wait = AGAIN.0;
        }
        bell.has_tried();
        // What was told meanwhile was missed.
        bell.strike();
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// Listens until the connection ends; an error where there was none.
async fn listen_once(bell: &Arc<Bell>, address: &Address) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = address.config.connect(address.tls.clone()).await?;
    let hearing = bell.clone();
    let messages = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                hearing.strike();
            }
        }
    });
    client.batch_execute("LISTEN reprise_jobs").await?;
    bell.has_tried();
    // The connection ends by itself; the client is kept until then.
    let _ = messages.await;
    drop(client);
    Ok(())
}
