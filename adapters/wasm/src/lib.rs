//! The light client for a host that is no Rust: one call, JSON in and JSON out.
//!
//! A host asks for room with [`input`], writes a [`Question`] there, calls [`check`], and reads as many bytes of the
//! [`Verdict`] at [`output`]. Neither pointer outlives the next call. `index.ts` is such a host.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reprise_light::answer::Answer;
use reprise_light::covenant::{Covenant, Settlement, Shown};
use reprise_light::json::{AnswerJson, SettlementJson};
use reprise_model::digest::{Digest, ParseDigestError};
use reprise_model::hash::Blake3;
use serde::{Deserialize, Serialize};

/// What is to be checked, and against what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The resource that was asked for.
    pub asked: String,
    /// What the server answered.
    pub answer: AnswerJson,
    /// The covenant that whoever asks trusts.
    pub covenant: CovenantJson,
    /// The covenant's unspent output, as an L1 node shows it.
    pub shown: ShownJson,
}

/// A covenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CovenantJson {
    /// Its id.
    pub id: String,
    /// Its rules, in hexadecimal.
    pub rules: String,
}

/// A covenant's unspent output.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownJson {
    /// The covenant that the output is bound to.
    pub covenant: String,
    /// The output's script, in hexadecimal.
    pub script: String,
    /// The transaction that made it.
    pub transaction: String,
    /// The settlement that this transaction is.
    pub settlement: Option<SettlementJson>,
}

/// What comes of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The answer is true: the cells of the value, or null where it is proved that there is none.
    Value(Option<Vec<String>>),
    /// The server lies, or what it says is not settled any more.
    Lie(String),
    /// The question cannot be read.
    Unclear(String),
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |c: char| c.to_digit(16).ok_or_else(|| format!("`{c}` is not a hexadecimal character"));
    let digits = hex.chars().map(digit).collect::<Result<Vec<u32>, _>>()?;
    if digits.len() % 2 == 1 {
        return Err("an odd number of hexadecimal characters".into());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

fn digest(hex: &str) -> Result<Digest, String> {
    Digest::from_hex(hex).map_err(|e: ParseDigestError| e.to_string())
}

/// Checks an answer. Every field of it must be true.
pub fn verdict(question: &[u8]) -> Verdict {
    let read = || -> Result<(Answer, Digest, Covenant, Shown), String> {
        let Question { asked, answer, covenant, shown } =
            serde_json::from_slice(question).map_err(|e| e.to_string())?;
        let settlement = |it: &SettlementJson| -> Result<Settlement, String> {
            Ok(Settlement {
                statement: digest(&it.statement)?.into(),
                end_block: digest(&it.end_block)?.into(),
                block: digest(&it.block)?.into(),
            })
        };
        let shown = Shown {
            covenant: digest(&shown.covenant)?,
            script: bytes(&shown.script)?,
            transaction: digest(&shown.transaction)?.into(),
            settlement: shown.settlement.as_ref().map(settlement).transpose()?,
        };
        let covenant = Covenant { id: digest(&covenant.id)?, rules: bytes(&covenant.rules)? };
        let answer = Answer::try_from(&answer).map_err(|e| e.to_string())?;
        Ok((answer, digest(&asked)?, covenant, shown))
    };
    match read() {
        Err(unclear) => Verdict::Unclear(unclear),
        Ok((answer, asked, covenant, shown)) => match answer.check(&Blake3, &asked.into(), &covenant, &shown)
        {
            Err(lie) => Verdict::Lie(lie.to_string()),
            Ok(_) => Verdict::Value(AnswerJson::from(&answer).value),
        },
    }
}

static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static OUTPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn locked(buffer: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Room for a question of so many bytes.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    let mut buffer = locked(&INPUT);
    buffer.clear();
    buffer.resize(length, 0);
    buffer.as_mut_ptr()
}

/// Checks what was written there. Returns the length of the verdict.
#[unsafe(no_mangle)]
pub extern "C" fn check() -> usize {
    let verdict = verdict(&locked(&INPUT));
    let mut buffer = locked(&OUTPUT);
    *buffer = serde_json::to_vec(&verdict).unwrap_or_default();
    buffer.len()
}

/// Where the verdict is.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    locked(&OUTPUT).as_ptr()
}
