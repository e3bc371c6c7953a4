//! A script builder: Kaspa's own, and the sequences that the covenant and its claims share.

use std::ops::Range;

use kaspa_txscript::opcodes::codes::{
    OpAdd, OpAuthOutputIdx, OpBlake2b, OpCat, OpCovInputCount, OpCovInputIdx, OpDup, OpEndIf, OpEqual,
    OpEqualVerify, OpGreaterThan, OpGreaterThanOrEqual, OpIf, OpInputCovenantId, OpLessThan,
    OpLessThanOrEqual, OpNip, OpOver, OpSize, OpSub, OpSubstr, OpSwap, OpTxInputAmount, OpTxInputCount,
    OpTxInputIndex, OpTxInputScriptSigLen, OpTxInputScriptSigSubstr, OpTxInputSpk, OpTxOutputAmount,
    OpTxOutputSpk, OpTxPayloadSubstr, OpVerify, OpXor,
};
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};

/// The SHA-256 of the parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
}

/// Kaspa's builder, with short names.
#[derive(Default)]
pub(crate) struct Script(ScriptBuilder);

impl Script {
    pub(crate) fn drain(mut self) -> Vec<u8> {
        self.0.drain()
    }

    /// Appends to the top of the stack the last `length` bytes of this input's signature script: the rules of its redeem
    /// script.
    pub(crate) fn own_rules(&mut self, length: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpTxInputIndex, OpDup, OpTxInputScriptSigLen, OpDup])?.number(length)?;
        self.ops(&[OpSub, OpSwap, OpTxInputScriptSigSubstr, OpCat])
    }

    /// Turns a redeem script into the pay-to-script-hash script of an output, with its version in front.
    pub(crate) fn pays_to_hash(&mut self) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpBlake2b])?.data(&[0, 0, OpBlake2b, 32])?.ops(&[OpSwap, OpCat])?;
        self.data(&[OpEqual])?.ops(&[OpCat])
    }

    /// Cuts so many bytes off the top of the stack: they come below the rest of it.
    pub(crate) fn split(&mut self, length: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpDup])?.number(0)?.number(length)?.ops(&[OpSubstr, OpSwap, OpSize])?;
        self.number(length)?.ops(&[OpSwap, OpSubstr])
    }

    /// Pushes whether the top of the stack, which stays, is zeros.
    pub(crate) fn zero(&mut self) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpDup, OpDup, OpDup, OpXor, OpEqual])
    }

    /// Pushes what the inputs of these numbers hold that have the script of the first, which must be there.
    pub(crate) fn sum_like(&mut self, first: usize, end: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.number(first)?.ops(&[OpTxInputAmount])?;
        for number in first + 1..end {
            self.number(number)?.ops(&[OpTxInputCount, OpLessThan, OpIf])?;
            self.number(number)?.ops(&[OpTxInputSpk])?.number(first)?.ops(&[OpTxInputSpk, OpEqual, OpIf])?;
            self.number(number)?.ops(&[OpTxInputAmount, OpAdd, OpEndIf, OpEndIf])?;
        }
        Ok(self)
    }

    /// Pushes what the inputs hold that spend outputs of this input's covenant, of which there may be so many.
    pub(crate) fn covenant_sum(&mut self, most: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpTxInputIndex, OpInputCovenantId, OpDup, OpCovInputCount])?.number(most)?;
        self.ops(&[OpLessThanOrEqual, OpVerify])?.number(0)?;
        for number in 0..most {
            self.ops(&[OpOver, OpCovInputCount])?.number(number)?.ops(&[OpGreaterThan, OpIf, OpOver])?;
            self.number(number)?.ops(&[OpCovInputIdx, OpTxInputAmount, OpAdd, OpEndIf])?;
        }
        self.ops(&[OpNip])
    }

    /// Checks that the top of the stack is the script of this input's covenant output `number`, and that this output
    /// holds no less than the input.
    pub(crate) fn continuation(&mut self, number: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.ops(&[OpTxInputIndex])?.number(number)?.ops(&[OpAuthOutputIdx, OpDup, OpTxOutputAmount])?;
        self.ops(&[OpTxInputIndex, OpTxInputAmount, OpGreaterThanOrEqual, OpVerify])?;
        self.ops(&[OpTxOutputSpk, OpEqualVerify])
    }

    pub(crate) fn ops(&mut self, ops: &[u8]) -> Result<&mut Self, ScriptBuilderError> {
        self.0.add_ops(ops)?;
        Ok(self)
    }

    pub(crate) fn data(&mut self, data: &[u8]) -> Result<&mut Self, ScriptBuilderError> {
        self.0.add_data(data)?;
        Ok(self)
    }

    pub(crate) fn number(&mut self, number: usize) -> Result<&mut Self, ScriptBuilderError> {
        self.0.add_i64(number as i64)?;
        Ok(self)
    }

    pub(crate) fn payload(&mut self, field: Range<usize>) -> Result<&mut Self, ScriptBuilderError> {
        self.number(field.start)?.number(field.end)?.ops(&[OpTxPayloadSubstr])
    }

    pub(crate) fn append(&mut self, script: &[u8]) -> &mut Self {
        self.0.script_mut().extend(script);
        self
    }
}
