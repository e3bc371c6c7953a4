//! The typed client: what it says will happen is what happens.

use reprise::{ResourceId, account};
use reprise_client::{Client, Sender, Value as _};
use reprise_model::digest::Digest;
use reprise_model::transaction::{Price, Rollup};
use reprise_testing::Sandbox;

use {{ident}}_semantics::{Action, Counter, Counters, Message};

#[test]
fn what_a_client_foresees_is_what_happens() {
    let rollup = Rollup { covenant: Digest([9; 32]), deposit: account("deposits"), price: Price::FREE };
    let client: Client<Message, _> = Client::new(rollup, Counters);
    let mut sandbox = Sandbox::of(Counters);
    let counter = ResourceId([1; 32]);
    for (by, action) in [("alice", Action::Open), ("alice", Action::Add(7)), ("bob", Action::Close)] {
        let (sender, message) = (Sender { account: account(by), deposit: 0 }, Message { counter, action });
        let block = *sandbox.context();
        let before = |id: &ResourceId| sandbox.read(id).map(<[_]>::to_vec);
        let foreseen = client.foresee(&sender, &message, Some(block), before).unwrap();
        // What a wallet sends is read back as the same message.
        let payload = client.payload(b"opening", &message).unwrap();
        let sent = client.read(&payload).unwrap();
        assert_eq!(sandbox.send(by, &reprise_client::Message::encode(&sent), 0), foreseen.outcome);
        for (id, value) in foreseen.writes {
            assert_eq!(sandbox.read(&id), value.as_deref());
        }
    }
    let held = sandbox.read(&counter).and_then(Counter::of);
    assert_eq!(held, Some(Counter { owner: account("alice"), count: 7 }));
}
