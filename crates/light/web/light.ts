// The light client of a Reprise rollup: checks what a server says of the state against the covenant's output on the L1, and believes
// neither server nor network. It runs wherever WebAssembly does.
import { Module } from "./client.mjs";

/** A settlement, and where it is. Digests are 64 hexadecimal characters. */
export interface Settlement {
  statement: string;
  end_block: string;
  block: string;
}

/** What a server answers: the field `proof` of `/v1/accounts/{id}` and `/v1/resources/{id}`. */
export interface Answer {
  version: number;
  resource: string;
  value: string[] | null;
  path: { slot: string; entries: { resource: string; value: string }[]; siblings: string[] };
  state: { root: string; tip: string };
  settlement: Settlement | null;
}

/** The covenant that you trust: its id, and its rules in hexadecimal (`reprise account --verify --json` prints both). */
export interface Covenant {
  id: string;
  rules: string;
}

/** The covenant's unspent output, as an L1 node of your own shows it. */
export interface Shown {
  covenant: string;
  script: string;
  transaction: string;
  settlement: Settlement | null;
}

/** What the server says is not so, or is not settled any more. */
export class Lie extends Error {
  override name = "Lie";
}

type Verdict = { value: string[] | null } | { lie: string };

/** The light client: `await LightClient.load(await fetch("reprise-light-web.wasm"))`. */
export class LightClient extends Module {
  /**
   * Checks every field of an answer. Returns the cells of the value, or null where it is proved that there is none. Throws a
   * `Lie` where the answer is not true, and another `Error` where one of the four cannot be read.
   */
  check(asked: string, answer: Answer, covenant: Covenant, shown: Shown): string[] | null {
    const verdict = this.call({ asked, answer, covenant, shown }) as Verdict;
    if ("lie" in verdict) throw new Lie(verdict.lie);
    return verdict.value;
  }
}

/** An account of the ledger: its balance and what is set aside for the rollup's price, in sompi, and its nonce. One that does not exist has zeros. */
export function account(value: string[] | null): { balance: bigint; nonce: bigint; fees: bigint } {
  if (value === null) return { balance: 0n, nonce: 0n, fees: 0n };
  const [cell] = value;
  if (value.length !== 1 || cell === undefined) throw new TypeError("the resource holds no account of the ledger");
  const bytes = Uint8Array.from(cell.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const view = new DataView(bytes.buffer);
  if (bytes.length !== 32 || bytes.slice(24).some((byte) => byte !== 0)) {
    throw new TypeError("the resource holds no account of the ledger");
  }
  return { balance: view.getBigUint64(0, true), nonce: view.getBigUint64(8, true), fees: view.getBigUint64(16, true) };
}
