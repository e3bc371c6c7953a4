//! The light client for a page: `adapters/web/build reprise-light-web DIR` makes a module of WebAssembly, which `light.ts` calls. It takes a
//! [`Question`] and answers with a [`Verdict`], as JSON.

use reprise_light::answer::Answer;
use reprise_light::covenant::{Covenant, Settlement, Shown};
use reprise_light::json::{AnswerJson, SettlementJson};
use reprise_model::digest::{Digest, ParseDigestError};
use reprise_model::hash::Blake3;
use serde::{Deserialize, Serialize};
use serde_json::json;

reprise_web::exports!(call);

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

/// Answers a question; an error says why it cannot be read.
pub fn call(question: &str) -> String {
    match verdict(question) {
        Ok(verdict) => json!({ "ok": verdict }),
        Err(unclear) => json!({ "error": unclear }),
    }
    .to_string()
}

/// Checks an answer. Every field of it must be true.
pub fn verdict(question: &str) -> Result<Verdict, String> {
    let Question { asked, answer, covenant, shown } =
        serde_json::from_str(question).map_err(|e| e.to_string())?;
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
    Ok(match answer.check(&Blake3, &digest(&asked)?.into(), &covenant, &shown) {
        Err(lie) => Verdict::Lie(lie.to_string()),
        Ok(_) => Verdict::Value(AnswerJson::from(&answer).value),
    })
}
